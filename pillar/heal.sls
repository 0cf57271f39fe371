#!yaml
# Healing without an operator, and its limits.
heal:
  attempts: 3                     # maximum number of cures of one fault of one node (0: none at all) ...
  window: 600                     # ... in this many seconds
  max_actions_per_hour: 30        # maximum number of cures in the whole cluster in an hour
  cooldown: 60                    # seconds between two cures that take a node out of service
  max_pause: 3600                 # seconds after which a pause of Patroni is regarded as forgotten
  replica_detached_after: 300     # seconds that a running replica may not stream before it is reported
  rpc_stalled_after: 30           # seconds that a chain node may be stalled behind the others before it is restarted
  # Kinds of drift to correct each night: files, packages, units, firewall, certificates, settings, users, others.
  auto_remediate_drift: []
  switchover: false               # true: switch over if writes stall although Patroni reports no fault
  dry_run: false                  # true: log what would be done, and do nothing
  lock_timeout: 20                # seconds to wait for another cure to end
  samples: 3                      # consecutive probes of the same process that prove a start
  timeout: 30                     # seconds for a unit to start and prove itself
  # role (or "every" for all nodes): [unit, ...], in place of the required units in _utils/fanatico_components.py
  units: {}
