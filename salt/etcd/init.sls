# etcd: stores the leader and the settings of Patroni.
# etcd.installed    the packages, and a unit that uses our configuration only
# etcd.certified    its certificates
# etcd.configured   etcd.conf.yml
# etcd.running      a member of the cluster (founded, joined or replaced), running, restarted one node at a time
# etcd.users        users, roles and authentication
include:
  - etcd.installed
  - etcd.certified
  - etcd.configured
  - etcd.running
  - etcd.users
