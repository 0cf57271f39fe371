#!yaml
# The Salt minion on every node.
minion:
  master_fingerprint: ""          # `salt-key -f master.pub` on the master; empty: trusted at the first contact
  boot_highstate: true            # a highstate at each boot of the host (not at each start of the minion)
