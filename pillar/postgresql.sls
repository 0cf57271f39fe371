#!yaml
# PostgreSQL, as Patroni runs it.
postgresql:
  database: fanatico              # made with role `fanatico` as its owner
  # What role `fanatico` may take: connections at once (null: what the cluster's own roles leave of max_connections), and what
  # its sessions start with, for example {temp_file_limit: 10GB, idle_in_transaction_session_timeout: 1h}.
  application: {connections: null, settings: {}}
  # postgresql.conf, name: value, the same on all members, for example {shared_buffers: 8GB, work_mem: 16MB}.
  # A highstate changes the running cluster; Patroni tells where a restart is needed.
  parameters: {}
