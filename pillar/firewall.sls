#!yaml
# The plan decides which hosts may connect to which ports; here are the other sources: networks (192.0.2.0/24) or addresses.
firewall:
  admin: []                       # sources of ssh logins, to the master too; empty: only from the master
  ssh_port: 22
  clients: []                     # networks of PostgreSQL clients at the virtual IP, beside the plan's networks
  monitoring: []                  # readers of the metrics of HAProxy, Patroni and etcd
  # Additional connections, for example the peer-to-peer port of the blockchain:
  # - {name: p2p, roles: [rpc], protocol: tcp, port: 30303, from: [0.0.0.0/0]}
  allow: []
