#!yaml
# Orchestrations (orch/), on the master. What a step waits for can take longer: after so many seconds Salt asks a host that has
# not answered whether it is still at it, and goes on waiting for as long as it is. How long a deploy waits for hosts to
# answer at all is master:answer_within.
orch:
  timeouts:                       # seconds, for ...
    lock: 60                      # another change of the cluster to end
    firewall: 60                  # the rules of the firewall to be loaded
    pillar: 60                    # every host to read the pillar again
    modules: 120                  # the modules to be handed out
    prepare: 300                  # packages and settings on every host, in a deploy
    apply: 60                     # the states of a role, in a deploy
    rotate: 120                   # the states of a role, for other certificates or secrets
    upgrade: 300                  # the states of a chain node, for another artifact
    ready: 60                     # a quorum, a leader, replicas, the virtual IP, and the proof at the end
