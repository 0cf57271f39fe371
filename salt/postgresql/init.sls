# PostgreSQL. Patroni owns the cluster on disk, its configuration and its process: see salt/patroni.
# postgresql.installed   the packages, without Debian's own cluster
# postgresql.startable       whether it could start with the pillar's parameters; alone, for orch.patroni
# postgresql.roles       roles, their passwords and the database: on the primary only
include:
  - postgresql.installed
  - postgresql.roles
