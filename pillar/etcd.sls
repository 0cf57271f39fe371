#!yaml
# etcd: the store that Patroni keeps its leader lock in.
etcd:
  quota_backend_bytes: 2147483648 # above this size etcd takes no more writes; Patroni needs a few megabytes
