#!yaml
# PostgreSQL, as Patroni runs it.
postgresql:
  database: fanatico              # created with role `fanatico` as owner
  parameters: {}                  # postgresql.conf, name: value, for example {shared_buffers: 8GB, work_mem: 16MB}
