# Configuration store of Patroni, one of an odd number.
include:
  - etcd
