# What every suite's machine has in common.
base:
  sysctl_vm: false                # the machine may be a container
etcd:
  bootstrap: true                 # nobody orchestrates here: a fresh node may begin a cluster
