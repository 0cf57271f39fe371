# Keepalived: holds the virtual IP on a balancer whose HAProxy works.
# keepalived.installed    the package
# keepalived.configured   keepalived.conf, the check of HAProxy, the unit's cleanup when Keepalived dies
# keepalived.running      enabled and running, after HAProxy; reloads when the configuration changes
include:
  - keepalived.installed
  - keepalived.configured
  - keepalived.running
