#!yaml
# The Salt minion on every node.
minion:
  packages: [python3-venv]        # needed to create Salt's own environment
  # Fingerprint of the master's key, `salt-call --local key.finger_master` on the master. Empty: the fingerprint that salt-ssh
  # passed from the roster, otherwise trust on first use.
  master_fingerprint: ""
  boot_highstate: true            # a highstate at each boot of the host (not at each start of the minion)
  boot_delay: 30                  # seconds after a boot: the node's services start first ...
  boot_jitter: 30                 # ... and not all nodes at the same time
  restart_quiet: 300              # seconds without a job before a minion restarts with a changed configuration
  install:
    wheels: ""                    # directory of prebuilt wheels on the host; empty: the package index
    wheels_sha256: ""             # `sha256sum *.whl | sha256sum` in it (LC_ALL=C): other wheels are refused; empty: no check
    index_url: ""                 # a package index other than pip's default
    build_packages: [gcc, libc6-dev, python3-dev]  # without wheels, one dependency is compiled
