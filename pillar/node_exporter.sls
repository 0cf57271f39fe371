#!yaml
# The metrics of every host, from Prometheus' node_exporter. The plan decides who may read them.
node_exporter:
  collectors: []                  # collectors to enable that are off by default, for example [systemd]
  left_out: []                    # collectors to disable that are on by default, for example [btrfs, zfs]
