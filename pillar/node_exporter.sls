#!yaml
# The metrics of every host, by Prometheus' node_exporter. Who may read them follows from the plan; nobody else gets in.
node_exporter:
  collectors: []                  # on beside those that it has by default, for example [systemd]
  left_out: []                    # off, of those that it has by default, for example [btrfs, zfs]
