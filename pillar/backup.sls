#!yaml
# Backups with pgBackRest: the database hosts send their WAL to the hosts with the role backup, which also make the backups.
backup:
  version: ""                     # version of Debian's package to pin; empty: the installed, or at first the newest version
  path: /var/lib/pgbackrest       # the repository, encrypted with the secret BACKUP_PASSPHRASE
  s3:                             # a second repository in an S3 bucket; the keys are the secrets BACKUP_S3_KEY, BACKUP_S3_KEY_SECRET
    endpoint: ""                  # a host, for example s3.eu-central-1.amazonaws.com; with region and bucket it switches this on
    port: 443                     # always TLS
    region: ""
    bucket: ""
    path: /fanatico               # in the bucket, of this cluster alone
    uri_style: host               # path: for servers that do not have a host name for each bucket
    verify: true                  # the endpoint's certificate
    ca: ""                        # the certificate of the authority that signed it, as PEM text; empty: those that Debian trusts
    keep: 2                       # full backups
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
  wal_left: 86400                 # seconds until WAL that waits fills the primary's disk, below which health is degraded
  wal_left_critical: 14400        # the same, below which it is critical
  master:                         # the backup of the Salt master itself (docs/disaster.md)
    path: /var/lib/fanatico-master-backup  # on the master and on the backup hosts; encrypted with MASTER_BACKUP_PASSPHRASE
    at: "03:00"                   # every night, beside the backups after each change; see systemd.time(7)
    keep: 14                      # files on each host
    max_age: 93600                # seconds since the last run after which health is degraded
