#!yaml
# The Salt master.
master:
  tree: /srv/fanatico             # where this repository is
  ca_dir: /etc/fanatico/ca        # the certificate authorities, for root alone; a backup of the master must have them
  worker_threads: 3
  answer_within: 60               # seconds that a deploy waits for a machine that does not answer
  reconcile: 120                  # seconds between two looks for faults that no event told of
  ssh:                            # how salt-ssh reaches the hosts: Salt's roster_defaults (user, port, sudo, priv ...)
    user: root
    ssh_options: [StrictHostKeyChecking=yes]
