#!yaml
# PostgreSQL, run by Patroni.
postgresql:
  version: 17
  data_dir: ""                    # empty: Debian's directory for that version, /var/lib/postgresql/VERSION/main
  locale: C.UTF-8                 # PostgreSQL's own: an upgrade of the C library does not change the order of an index
  # True lets postgresql.roles replace passwords in the cluster that differ from the pillar. For a single run, on purpose:
  # salt db1 state.apply postgresql.roles pillar='{"postgresql": {"replace_passwords": true}}'
  replace_passwords: false
  database: fanatico              # created with the role `fanatico` as its owner
  # Limits of the application's role, `fanatico`.
  application:
    # Concurrent connections; null: what the cluster's own roles leave of max_connections (180 of 200).
    connections: null
    # Defaults of its sessions (ALTER ROLE … SET), for example {temp_file_limit: 10GB, idle_in_transaction_session_timeout: 1h};
    # null leaves a default unchanged. The role can raise the two timeouts itself, but not temp_file_limit (per session).
    settings:
      temp_file_limit: null
      statement_timeout: null
      idle_in_transaction_session_timeout: null
  # postgresql.conf, name: value, the same on all members, for example {shared_buffers: 8GB, work_mem: 16MB}. Stored in etcd
  # (salt/patroni/settings.sls): a highstate changes the running cluster, and Patroni reports pending restarts. null means
  # PostgreSQL's own default.
  parameters:
    max_connections: 200
    # Clients that use all connections must not block the cluster's own roles: a rewind without a connection fails. Exists since
    # version 16, omitted before.
    reserved_connections: 3
    shared_buffers: 128MB
    max_wal_size: 2GB
    checkpoint_timeout: 15min
    checkpoint_completion_target: 0.9
    wal_compression: pglz         # the value that PostgreSQL shows for "on": Patroni sees no difference at its start
    wal_keep_size: 256MB
    max_wal_senders: 10
    max_replication_slots: 10
    max_slot_wal_keep_size: 8GB   # a replica that is away longer is cloned again; the disk of the primary has priority
    wal_log_hints: "on"           # pg_rewind needs it or checksums; with both it is safer
    wal_sender_timeout: 10s       # a hung replica is detected
    wal_receiver_timeout: 10s
    wal_retrieve_retry_interval: 500ms  # a replica that lost its primary reconnects quickly: commits wait for a replica
    password_encryption: scram-sha-256
    jit: "off"                    # compiling does not pay off for short transactions
    authentication_timeout: 15s   # an unauthenticated client holds a connection for at most this time
    # For audits (CIS benchmark for PostgreSQL 17); docs/security.md, "Who was it?".
    log_connections: "on"
    log_disconnections: "on"
    log_statement: ddl
    log_replication_commands: "on"
    log_checkpoints: "on"
    log_lock_waits: "on"
    log_min_duration_statement: 1s
    log_line_prefix: "%m [%p] %q[%r %u@%d] "  # healing parses it: a remote client's address comes first
