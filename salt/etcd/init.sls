# etcd: where Patroni keeps who leads.
# etcd.installed    the packages, and a unit that runs on our configuration only
# etcd.certified    its certificates
# etcd.configured   etcd.conf.yml
# etcd.running      a member of the cluster (founded, joined or joined again, as it is found), running, restarted one at a time
# etcd.users        who may do what in it
include:
  - etcd.installed
  - etcd.certified
  - etcd.configured
  - etcd.running
  - etcd.users
