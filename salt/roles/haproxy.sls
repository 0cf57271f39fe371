# Balancer: HAProxy, for the databases and for the public, and the virtual IP in front of it.
include:
  - edge
  - haproxy
  - keepalived
