#!yaml
# Three hosts for everything: etcd and Patroni on each, two balance as well, the third has the RPC node. The databases keep
# 5432, so the virtual IP has other ports for them.
plan:
  name: three
  version: 0.5.0.0
  networks:
    lan: {cidr: 10.20.0.0/24, gateway: 10.20.0.1}
  virtual_ip: {address: 10.20.0.100, router_id: 20}
  nodes:
    salt:  {address: 10.20.0.5, roles: [master]}
    node1: {address: 10.20.0.11, roles: [etcd, patroni, haproxy]}
    node2: {address: 10.20.0.12, roles: [etcd, patroni, haproxy]}
    node3: {address: 10.20.0.13, roles: [etcd, patroni, rpc]}
  ports: {rpc_http: 8545, rpc_ws: 8546, haproxy_stats: 8404, postgres_primary: 5000, postgres_replica: 5001,
          postgres: 5432, patroni_rest: 8008, etcd_client: 2379, etcd_peer: 2380, etcd_metrics: 2381}
