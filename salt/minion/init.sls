# The Salt minion.
# minion.installed     Salt in an environment of its own, /opt/salt; also on a new host, by salt-ssh
# minion.configured    its settings and its unit
# minion.running       enabled and running
# minion.boot          a highstate at each boot of the host
include:
  - minion.installed
  - minion.configured
  - minion.running
  - minion.boot
