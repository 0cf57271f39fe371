#!yaml
# Patroni: who is primary. `dynamic` lives in etcd; a highstate changes the running cluster, and shows the difference.
patroni:
  watchdog: automatic             # used where /dev/watchdog is there; required: no member leads without one
  dynamic:
    synchronous_mode: quorum      # each acknowledged write is on a replica as well, whichever is first
    synchronous_mode_strict: true # rather refuse writes than acknowledge one that a single host could lose
    failsafe_mode: true           # all etcd gone: the primary goes on while it reaches every replica
