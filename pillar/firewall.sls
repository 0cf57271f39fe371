#!yaml
# Who may talk to whom follows from the plan; here stands who else. Networks, for example 192.0.2.0/24, or addresses.
firewall:
  admin: []                       # from where people come in by ssh, to the master too; empty: the master alone comes in
  ssh_port: 22
  clients: []                     # whose clients use PostgreSQL through the virtual IP, beside the plan's networks
  monitoring: []                  # who reads the metrics of HAProxy, Patroni and etcd
  # Further connections, for example the peer-to-peer port of the blockchain:
  # - {name: p2p, roles: [rpc], protocol: tcp, port: 30303, from: [0.0.0.0/0]}
  allow: []
