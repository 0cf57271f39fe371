# Database: PostgreSQL, and Patroni, which elects the leader.
include:
  - postgresql.installed
  - archive
  - patroni
  - postgresql.roles
  - postgresql.heartbeat
