#!yaml
# The Salt minion on every node.
minion:
  boot_highstate: true            # a highstate at each boot of the host (not at each start of the minion)
