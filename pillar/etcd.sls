#!yaml
# etcd: the store of Patroni's leader lock and settings.
etcd:
  version: ""                     # version of Debian's packages to pin; empty: the installed, or at first the newest version
  data_dir: /var/lib/etcd
  quota_backend_bytes: 2147483648  # above this size etcd accepts no more writes; Patroni needs a few megabytes
  auto_compaction_retention: 1h   # how long history is kept for watchers that reconnect
  log_level: info
  users: []                       # users that an operator created in etcd; the next orch.rotate_secrets removes all others
  join_timeout: 30                # seconds to wait for members that could add this member
  start_timeout: 60               # seconds until a started member must be part of a quorum
