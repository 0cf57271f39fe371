patroni: {}
