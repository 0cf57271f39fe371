#!yaml
# The operating system on every node.
base:
  tools: [curl, jq, tcpdump]      # Debian packages for the person on call; empty: none
  time_servers: []                # empty: those the distribution chose
  journal_max_use: 500M           # what the journal may take of the disk
  sysctl:                         # applied at once and at every boot; a container can set net.* only. Yours go beside them
    net.core.somaxconn: 4096
    # Seconds: a peer that is gone without a word is noticed after 45 s, not after two hours. (Not as PostgreSQL's own
    # tcp_keepalives_*: those read as 0 on Patroni's socket, so that each of its starts would reload PostgreSQL and wait.)
    net.ipv4.tcp_keepalive_time: 30
    net.ipv4.tcp_keepalive_intvl: 5
    net.ipv4.tcp_keepalive_probes: 3
    # Who stands on the same wire does not choose this host's routes. (`*`: of two that disagree, all and the interface's own,
    # Linux takes now the one and now the other.)
    net.ipv4.conf.*.accept_redirects: 0
    net.ipv4.conf.*.secure_redirects: 0
    net.ipv4.conf.*.send_redirects: 0
    net.ipv4.conf.*.accept_source_route: 0
    # A packet has to come in where an answer to its sender would go out. 2 where routes are not the same in both directions; the
    # virtual IP needs no more than 1: its network is that of the balancers.
    net.ipv4.conf.*.rp_filter: 1
    net.ipv6.conf.*.accept_redirects: 0
    net.ipv6.conf.*.accept_source_route: 0
    # 1 on a host that is to have its IPv6 address and route from a router's advertisements; the plan is all IPv4.
    net.ipv6.conf.*.accept_ra: 0
  disk:                           # too little is free where both are undercut
    warning: {percent: 10, gib: 5}   # degraded
    critical: {percent: 3, gib: 1}   # critical: packages' archives, old journals and core dumps go
