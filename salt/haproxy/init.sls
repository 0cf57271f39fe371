# HAProxy: one address in front of PostgreSQL. The public has a process of its own (salt/edge).
# haproxy.installed    the package
# haproxy.certified    its certificate, and whom it trusts
# haproxy.configured   haproxy.cfg, the limits of its unit, the sysctl its listeners need
# haproxy.running      enabled and running; reloads, never restarts, when the configuration changes
include:
  - haproxy.installed
  - haproxy.certified
  - haproxy.configured
  - haproxy.running
