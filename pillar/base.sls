#!yaml
# The operating system on every node.
base:
  tools: [curl, jq, tcpdump]      # Debian packages for the operator on call; empty: none
  time_servers: []                # empty: the servers of the distribution
  journal_max_use: 500M           # the most disk space that the journal may use
  sysctl:                         # applied at once and at every boot; a container can set net.* only. Add your own beside these
    net.core.somaxconn: 4096
    # Seconds: a peer that disappears is detected after 45 s instead of two hours. (Not with PostgreSQL's own tcp_keepalives_*:
    # these read as 0 on Patroni's socket, so each start of Patroni would reload PostgreSQL and wait.)
    net.ipv4.tcp_keepalive_time: 30
    net.ipv4.tcp_keepalive_intvl: 5
    net.ipv4.tcp_keepalive_probes: 3
    # Hosts in the same network must not change this host's routes. (With `*`: if `all` and the interface's own value differ,
    # which of the two Linux uses depends on the setting.)
    net.ipv4.conf.*.accept_redirects: 0
    net.ipv4.conf.*.secure_redirects: 0
    net.ipv4.conf.*.send_redirects: 0
    net.ipv4.conf.*.accept_source_route: 0
    # A packet must arrive on the interface that an answer to its sender would leave by. Use 2 if routes are asymmetric. The
    # virtual IP works with 1: its network is that of the balancers.
    net.ipv4.conf.*.rp_filter: 1
    net.ipv6.conf.*.accept_redirects: 0
    net.ipv6.conf.*.accept_source_route: 0
    # Set 1 on a host that gets its IPv6 address and route from router advertisements; the plan uses IPv4 only.
    net.ipv6.conf.*.accept_ra: 0
  disk:                           # a limit is reached if less than both values is free
    warning: {percent: 10, gib: 5}   # degraded
    critical: {percent: 3, gib: 1}  # critical: cached packages, old journals and core dumps are deleted
