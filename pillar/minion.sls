#!yaml
# The Salt minion on every node.
minion:
  master_fingerprint: ""          # `salt-call --local key.finger_master` on the master; empty: what salt-ssh told it
  boot_highstate: true            # a highstate at each boot of the host (not at each start of the minion)
