#!yaml
# Orchestrations (orch/), on the master. A timeout does not end a step: after this time Salt asks a host that has not answered
# whether its job is still running, and waits as long as it is. How long a deploy waits for hosts to answer at all is
# master:answer_within.
orch:
  timeouts:                       # seconds, for ...
    lock: 60                      # another change of the cluster to end
    firewall: 60                  # the firewall rules to be loaded
    pillar: 60                    # every host to refresh its pillar
    modules: 120                  # the modules to be synced
    prepare: 300                  # packages and settings on every host, in a deploy
    apply: 60                     # the states of a role, in a deploy
    rotate: 120                   # the states of a role, for new certificates or secrets
    upgrade: 300                  # the states of a chain node, for a new artifact
    restore: 3600                 # a step of a restore that moves or copies all data
    ready: 60                     # quorum, leader, replicas, virtual IP, and the proof at the end
