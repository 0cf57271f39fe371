# HAProxy: one address in front of PostgreSQL. Public traffic has a process of its own (salt/edge).
# haproxy.installed    the package
# haproxy.certified    its certificate and the trusted authorities
# haproxy.configured   haproxy.cfg, the limits of its unit, the sysctl for its listeners
# haproxy.running      enabled and running; reloads, never restarts, when the configuration changes
include:
  - haproxy.installed
  - haproxy.certified
  - haproxy.configured
  - haproxy.running
