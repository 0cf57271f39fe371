#!yaml
# PostgreSQL, as Patroni runs it.
postgresql:
  database: fanatico              # made with role `fanatico` as its owner
  # postgresql.conf, name: value, the same on all members, for example {shared_buffers: 8GB, work_mem: 16MB}.
  # A highstate changes the running cluster; Patroni tells where a restart is needed.
  parameters: {}
