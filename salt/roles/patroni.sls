# Database: PostgreSQL, and Patroni that decides which of them leads.
include:
  - postgresql.installed
  - patroni
  - postgresql.roles
