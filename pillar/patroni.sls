#!yaml
# Patroni: elects the primary. `dynamic` is stored in etcd; a highstate changes the running cluster and shows the difference.
patroni:
  version: ""                     # version of Debian's package to pin; empty: the installed, or at first the newest version
  # The watchdog resets a host whose Patroni hangs while it is the leader. required: postgres gets /dev/watchdog, and a member
  # without it never leads; automatic: used if postgres may write to it. watchdog_module: driver to load (softdog), or empty.
  watchdog: automatic
  watchdog_module: ""
  log_level: INFO
  # Settings that all members share, beside plan:timing:patroni and postgresql:parameters (salt/patroni/settings.sls).
  dynamic:
    # A commit is acknowledged when the first replica has confirmed it; without a replica it waits.
    synchronous_mode: quorum
    synchronous_mode_strict: true  # refuse writes rather than acknowledge a write that one host could lose
    synchronous_node_count: 1
    maximum_lag_on_failover: 1048576      # bytes
    failsafe_mode: true           # if all of etcd is down, the primary continues while it reaches every replica
    check_timeline: true
    member_slots_ttl: 30min
    postgresql:
      use_pg_rewind: true
      use_slots: true
