# Database: PostgreSQL, and Patroni, which elects the leader.
include:
  - postgresql.installed
  - patroni
  - postgresql.roles
