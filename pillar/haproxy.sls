#!yaml
# HAProxy: what stands behind the virtual IP.
haproxy:
  maxconn: 4096                   # connections at once, all services together
  log_requests: false             # one line per request costs more than the request; errors are always logged
  cut_replica_sessions: true      # end the sessions of a replica that is marked down; false spares long reports
  replica_max_lag: ""             # a replica further behind (for example 16MB) gets no new sessions; empty: no limit
