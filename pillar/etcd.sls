etcd: {}
