#!yaml
# Patroni: who is primary. What stands here lives in etcd; a highstate changes the running cluster, with a diff.
patroni:
  scope: fanatico                 # name of the cluster; fixed once it is bootstrapped
  synchronous_mode: quorum        # off, on or quorum. quorum: one of the replicas has each acknowledged write
  synchronous_mode_strict: true   # rather refuse writes than acknowledge one that a single host could lose
  failsafe_mode: true             # the primary stays up without etcd while it reaches all replicas
