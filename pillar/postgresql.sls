#!yaml
# PostgreSQL, as Patroni runs it.
postgresql:
  version: 17
  data_dir: ""                    # empty: Debian's place for that version, /var/lib/postgresql/VERSION/main
  locale: C.UTF-8                 # PostgreSQL's own, so that no upgrade of the C library changes the order of an index
  # True lets postgresql.roles give the roles the passwords in the pillar where the cluster has others. For one run, on
  # purpose: salt db1 state.apply postgresql.roles pillar='{"postgresql": {"replace_passwords": true}}'
  replace_passwords: false
  database: fanatico              # made with role `fanatico` as its owner
  # What the application's role, `fanatico`, may take.
  application:
    # At once; null: what the cluster's own roles leave of max_connections (180 of 200).
    connections: null
    # What its sessions start with (ALTER ROLE … SET), for example {temp_file_limit: 10GB, idle_in_transaction_session_timeout: 1h};
    # null leaves it as it is. The role can raise the two timeouts for itself, temp_file_limit (each session) it cannot.
    settings:
      temp_file_limit: null
      statement_timeout: null
      idle_in_transaction_session_timeout: null
  # postgresql.conf, name: value, the same on all members, for example {shared_buffers: 8GB, work_mem: 16MB}. They live in etcd
  # (salt/patroni/settings.sls): a highstate changes the running cluster, and Patroni tells where a restart is needed. null leaves
  # a parameter to PostgreSQL's own default.
  parameters:
    max_connections: 200
    # Clients that hold all connections must not keep the cluster's own roles out: a rewind that cannot connect fails. New in 16,
    # left out before.
    reserved_connections: 3
    shared_buffers: 128MB
    max_wal_size: 2GB
    checkpoint_timeout: 15min
    checkpoint_completion_target: 0.9
    wal_compression: pglz                 # as PostgreSQL itself calls "on": Patroni sees no difference at its start
    wal_keep_size: 256MB
    max_wal_senders: 10
    max_replication_slots: 10
    max_slot_wal_keep_size: 8GB           # a replica that stays away longer is cloned again; the primary's disk comes first
    wal_log_hints: "on"                   # pg_rewind needs it, or checksums; both is safer
    wal_sender_timeout: 10s               # a replica that hangs is noticed
    wal_receiver_timeout: 10s
    wal_retrieve_retry_interval: 500ms    # a replica that lost its primary for a moment is back: commits wait for one
    password_encryption: scram-sha-256
    jit: "off"                            # short transactions only pay for it
    authentication_timeout: 15s           # who does not say who he is holds a connection for so long
    # What an auditor asks for (CIS benchmark for PostgreSQL 17); docs/security.md, "Who was it?".
    log_connections: "on"
    log_disconnections: "on"
    log_statement: ddl
    log_replication_commands: "on"
    log_checkpoints: "on"
    log_lock_waits: "on"
    log_min_duration_statement: 1s
    log_line_prefix: "%m [%p] %q[%r %u@%d] "   # healing reads it: who is not on this machine has its address first
