# Patroni: elects the leader of the databases, and runs PostgreSQL.
# patroni.installed    the packages, and a unit that uses our configuration only
# patroni.certified    its certificates and PostgreSQL's
# patroni.watchdog     the device that resets a host whose Patroni hangs, if the pillar requires it
# patroni.configured   patroni.yml, after a check that the cluster accepts this node with it
# patroni.running      running and enabled; a new configuration is reloaded
# patroni.settings     the cluster settings in etcd: on the leader only
include:
  - patroni.installed
  - patroni.certified
  - patroni.configured
  - patroni.running
  - patroni.settings
