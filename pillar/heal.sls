#!yaml
# Healing without a person, and its limits.
heal:
  attempts: 3                     # at most so many cures of one fault of one node (0: none at all) ...
  window: 600                     # ... in so many seconds
  max_actions_per_hour: 30                      # at most so many in the whole cluster within an hour
  cooldown: 60                        # seconds from a cure that took a node out of service to the next such
  max_pause: 3600                    # seconds after which a pause of Patroni counts as forgotten
  replica_detached_after: 300                     # seconds that a running replica may stand apart from its primary before it is reported
  rpc_stalled_after: 30                      # seconds that a chain node may stand still behind the others before it is restarted
  auto_remediate_drift: []                     # kinds of drift to put right each night: files, packages, units, firewall, certificates, settings
  switchover: false               # true: hand the lead over where no write goes through although Patroni finds nothing wrong
  dry_run: false                 # true: decide and write down what would be done, and do nothing
  lock_timeout: 20                    # seconds to wait for another healing to end
  samples: 3                      # consecutive looks at the same process that prove a start
  timeout: 30                     # seconds for a unit to start and prove itself
  # role, or every for all nodes: [unit, ...], in place of those that it has to keep running (_utils/fanatico_components.py)
  units: {}
