# Database: PostgreSQL, and Patroni that decides which of them leads.
include:
  - postgresql
  - patroni
