#!yaml
# HAProxy: the services behind the virtual IP.
haproxy:
  maxconn: 1024                   # concurrent connections of database clients, half of them for each of the two ports
  # TLS for public traffic, if plan:ports contains rpc_https (443) or rpc_wss (8443): files that you install and renew on both
  # balancers. With client_ca, only clients with a certificate of that CA connect: CloudFlare's Authenticated Origin Pulls.
  public: {certificate: "", client_ca: ""}
  log_requests: false             # a log line costs more than the request itself; errors are always logged
  cut_replica_sessions: true      # end the sessions of a replica that is marked down; false lets long reports finish
  # How long database sessions may outlive a reload: the old process stays for them, and uses memory. A renewed certificate needs
  # no reload.
  hard_stop_after: 24h
  # Public traffic (JSON-RPC and WebSocket) has a process of its own, haproxy-edge.service. Allowed methods: rpc.sls.
  edge:
    maxconn: 3072                 # concurrent connections, half of them for each of the two ports
    memory: 1024                  # MiB, including old processes after a reload; a process that exceeds it is killed
    hard_stop_after: 1h           # how long WebSockets may outlive a reload
  replica_max_lag: ""             # a replica with more lag (for example 16MB) gets no new sessions; empty: no limit
