# Patroni: who of the databases leads, and PostgreSQL under it.
# patroni.installed    the packages, and a unit that runs on our configuration only
# patroni.certified    its certificates and PostgreSQL's
# patroni.watchdog     the device that resets a host whose Patroni hangs, where the pillar wants one
# patroni.configured   patroni.yml, once the cluster is known to take us with it
# patroni.running      running and enabled; a new configuration is reloaded
# patroni.settings     what all members share and etcd keeps: on the leader only
include:
  - patroni.installed
  - patroni.certified
  - patroni.configured
  - patroni.running
  - patroni.settings
