#!yaml
# The Salt master.
master:
  tree: /srv/fanatico             # the directory of this repository
  ca_dir: /etc/fanatico/ca        # the certificate authorities, readable by root only
  worker_threads: 3
  answer_within: 60               # seconds that a deploy waits for a host that does not answer
  reconcile: 120                  # seconds between two polls for faults that no event has reported
  ssh:                            # how salt-ssh reaches the hosts: Salt's roster_defaults (user, port, sudo, priv ...)
    user: root
    ssh_options: [StrictHostKeyChecking=yes]
