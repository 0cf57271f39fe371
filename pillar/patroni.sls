#!yaml
# Patroni: who is primary. `dynamic` lives in etcd; a highstate changes the running cluster, and shows the difference.
patroni:
  # Resets a host whose Patroni hangs while it leads. required: postgres is given /dev/watchdog, and no member leads without it;
  # automatic: used where postgres may write to it already. watchdog_module: a driver to load for it (softdog), or empty.
  watchdog: automatic
  watchdog_module: ""
  dynamic:
    synchronous_mode: quorum      # each acknowledged write is on a replica as well, whichever is first
    synchronous_mode_strict: true # rather refuse writes than acknowledge one that a single host could lose
    failsafe_mode: true           # all etcd gone: the primary goes on while it reaches every replica
