# Balancer: HAProxy and the virtual IP in front of it.
include:
  - haproxy
  - keepalived
