# PostgreSQL. Patroni owns the cluster on disk, its configuration and its process: see salt/patroni.
# postgresql.installed   the packages, without Debian's own cluster
# postgresql.startable   checks that it could start with the pillar's parameters; used alone by orch.patroni
# postgresql.roles       roles, their passwords and the database: on the primary only
# postgresql.heartbeat   the time in a row, by which a restored copy is checked; only with a backup host
include:
  - postgresql.installed
  - postgresql.roles
  - postgresql.heartbeat
