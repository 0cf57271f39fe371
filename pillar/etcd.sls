#!yaml
# etcd: the store that Patroni keeps its leader lock in.
etcd:
  quota_backend_bytes: 2147483648 # etcd stops taking writes above this size
