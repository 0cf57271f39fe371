#!yaml
# The Salt minion on every node.
minion:
  packages: [python3-venv]        # what Salt's own environment is made with
  # Of the master's key, `salt-call --local key.finger_master` on the master; empty: what salt-ssh told it by the roster, else
  # trust on first use.
  master_fingerprint: ""
  boot_highstate: true            # a highstate at each boot of the host (not at each start of the minion)
  boot_delay: 30                  # seconds after a boot: the node's services come first ...
  boot_jitter: 30                 # ... and not all nodes at once
  restart_quiet: 300              # seconds without a job before a minion takes up a changed configuration
  install:
    wheels: ""                    # directory with ready-built wheels on the host; empty: the package index
    wheels_sha256: ""             # `sha256sum *.whl | sha256sum` in it (LC_ALL=C): others are refused; empty: not looked at
    index_url: ""                 # another package index than pip's own
    build_packages: [gcc, libc6-dev, python3-dev]   # without wheels, one dependency is compiled
