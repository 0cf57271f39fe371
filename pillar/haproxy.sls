#!yaml
# HAProxy: what stands behind the virtual IP.
haproxy:
  maxconn: 1024                   # connections of databases' clients at once, half of them for each of the two ports
  # TLS for the public, where plan:ports names rpc_https (443) or rpc_wss (8443): files that you put on both balancers, and
  # renew there. With client_ca only those get in whom it has signed: CloudFlare's Authenticated Origin Pulls.
  public: {certificate: "", client_ca: ""}
  log_requests: false             # one line per request costs more than the request; errors are always logged
  cut_replica_sessions: true      # end the sessions of a replica that is marked down; false spares long reports
  # How long database sessions may outlive a reload: the process before it stays for them, with its memory. A renewed certificate
  # needs no reload.
  hard_stop_after: 24h
  # What the public reaches (JSON-RPC and WebSocket) has a process of its own, haproxy-edge.service; what may be asked: rpc.sls.
  edge:
    maxconn: 3072                 # connections at once, half of them for each of the two ports
    memory: 1024                  # MiB, with the processes that a reload left; one that takes more is ended
    hard_stop_after: 1h           # how long WebSockets may outlive a reload
  replica_max_lag: ""             # a replica further behind (for example 16MB) gets no new sessions; empty: no limit
