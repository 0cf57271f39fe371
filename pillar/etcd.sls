#!yaml
# etcd: the store that Patroni keeps its leader lock in.
etcd:
  version: ""                     # of Debian's packages, to stay with it; empty: what is there, or the newest at first
  data_dir: /var/lib/etcd
  quota_backend_bytes: 2147483648 # above this size etcd takes no more writes; Patroni needs a few megabytes
  auto_compaction_retention: 1h   # history kept for watchers that were away
  log_level: info
  users: []                       # that a person made in etcd on purpose: any other one goes with the next orch.rotate_secrets
  join_timeout: 30                # seconds to wait for members that could let this one in
  start_timeout: 60               # seconds until a member that was started must be one of a quorum
