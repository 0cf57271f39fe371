#!yaml
# HAProxy: what stands behind the virtual IP.
haproxy:
  maxconn: 4096                   # connections at once, all services together
