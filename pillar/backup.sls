#!yaml
# Backups with pgBackRest: the database hosts send their WAL to the hosts with the role backup, which also make the backups.
backup:
  version: ""                     # version of Debian's package to pin; empty: the installed, or at first the newest version
  path: /var/lib/pgbackrest       # the repository, encrypted with the secret BACKUP_PASSPHRASE
  archive_timeout: 60             # seconds after which WAL is sent at the latest: the loss with all database hosts
  keep: 2                         # full backups; with each, the backups that need it and the WAL since then
  processes: 1                    # processes of a backup that compress and send
  compress_level: 3               # of zstd
  schedule:                       # on the backup host, without Salt; see systemd.time(7)
    full: Sun 02:00
    diff: Mon..Sat 02:00          # what has changed since the last full backup
    incr: 08,14,20:00             # what has changed since the last backup
    verify: Wed 04:00             # reads the whole repository and compares checksums
    drill: "05:00"                # restores to a random moment of the last day, checks every page and index, removes it
  drill_directory: /var/lib/postgresql/fanatico-drill  # for the drill's copy: as much space as the databases
  clone_directory: /var/lib/postgresql/fanatico-clone  # for fanatico.clone
  max_age: 93600                  # seconds since the last backup after which health is degraded
  max_age_full: 777600            # seconds since the last full backup
  max_age_drill: 187200           # seconds since the last restore drill
