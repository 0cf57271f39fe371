# Balancer: HAProxy for the databases and for public traffic, and the virtual IP in front of it.
include:
  - edge
  - haproxy
  - keepalived
