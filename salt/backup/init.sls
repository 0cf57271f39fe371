# The repository of the backups, and the timers that make and verify them.
# backup.installed    PostgreSQL's programs, for the restore drill
# backup.configured   the folder of the repository, and the units
# backup.running      the repository knows the cluster; the timers; the first backup
include:
  - backup.installed
  - backup.configured
  - backup.running
