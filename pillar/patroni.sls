#!yaml
# Patroni: who is primary. `dynamic` lives in etcd; a highstate changes the running cluster, and shows the difference.
patroni:
  version: ""                     # of Debian's package, to stay with it; empty: what is there, or the newest at first
  # Resets a host whose Patroni hangs while it leads. required: postgres is given /dev/watchdog, and no member leads without it;
  # automatic: used where postgres may write to it already. watchdog_module: a driver to load for it (softdog), or empty.
  watchdog: automatic
  watchdog_module: ""
  log_level: INFO
  # What all members share, beside plan:timing:patroni and postgresql:parameters (salt/patroni/settings.sls).
  dynamic:
    # A commit is acknowledged once one of the standbys has it, whichever is first; with none it waits.
    synchronous_mode: quorum
    synchronous_mode_strict: true # rather refuse writes than acknowledge one that a single host could lose
    synchronous_node_count: 1
    maximum_lag_on_failover: 1048576      # bytes
    failsafe_mode: true           # all etcd gone: the primary goes on while it reaches every replica
    check_timeline: true
    member_slots_ttl: 30min
    postgresql:
      use_pg_rewind: true
      use_slots: true
