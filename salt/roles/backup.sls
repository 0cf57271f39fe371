# Backups: the repository of WAL and backups.
include:
  - archive
  - backup
