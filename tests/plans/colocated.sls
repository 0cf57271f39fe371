#!yaml
# Few machines: etcd and Patroni share hosts, everything stands in one network, one RPC node.
plan:
  name: colocated
  version: 0.5.0.0
  networks:
    lan: {cidr: 192.168.50.0/24, gateway: 192.168.50.1}
  virtual_ip: {address: 192.168.50.100, router_id: 7}
  nodes:
    salt: {address: 192.168.50.2, roles: [master]}
    lb1:  {address: 192.168.50.11, roles: [haproxy]}
    lb2:  {address: 192.168.50.12, roles: [haproxy]}
    data1: {address: 192.168.50.21, roles: [etcd, patroni]}
    data2: {address: 192.168.50.22, roles: [etcd, patroni]}
    data3: {address: 192.168.50.23, roles: [etcd, patroni]}
    chain1: {address: 192.168.50.31, roles: [rpc]}
  ports: {rpc_http: 8545, rpc_ws: 8546, haproxy_stats: 8404, postgres_primary: 5432, postgres_replica: 5433,
          postgres: 5432, patroni_rest: 8008, etcd_client: 2379, etcd_peer: 2380, etcd_metrics: 2381}
  timing: {preset: norm}
