# Keepalived: the virtual IP stands on a node whose HAProxy works.
# keepalived.installed    the package
# keepalived.configured   keepalived.conf, the check of HAProxy, what its unit does when it dies
# keepalived.running      enabled and running, after HAProxy; reloads when the configuration changes
include:
  - keepalived.installed
  - keepalived.configured
  - keepalived.running
