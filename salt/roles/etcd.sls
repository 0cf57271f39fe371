# Configuration store of Patroni; an odd number of nodes.
include:
  - etcd
