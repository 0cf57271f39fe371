#!yaml
# HAProxy: what stands behind the virtual IP.
haproxy:
  maxconn: 4096                   # connections at once, all services together
  # TLS for the public, where plan:ports names rpc_https (443) or rpc_wss (8443): files that you put on both balancers, and
  # renew there. With client_ca only those get in whom it has signed: CloudFlare's Authenticated Origin Pulls.
  public: {certificate: "", client_ca: ""}
  log_requests: false             # one line per request costs more than the request; errors are always logged
  cut_replica_sessions: true      # end the sessions of a replica that is marked down; false spares long reports
  # How long sessions and WebSockets may outlive a reload: the process before it stays for them, with its memory.
  hard_stop_after: 24h
  replica_max_lag: ""             # a replica further behind (for example 16MB) gets no new sessions; empty: no limit
