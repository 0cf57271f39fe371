#!yaml
# The usual machines, of which a database, a member of etcd, a balancer and a chain node were shut out.
plan:
  name: evicted
  version: 0.5.0.0
  networks:
    edge:     {cidr: 10.0.0.0/24, gateway: 10.0.0.1}
    rpc:      {cidr: 10.0.1.0/24, gateway: 10.0.1.1}
    database: {cidr: 10.0.2.0/24, gateway: 10.0.2.1}
    etcd:     {cidr: 10.0.3.0/24, gateway: 10.0.3.1}
  virtual_ip: {address: 10.0.0.100, router_id: 51}
  nodes:
    salt:     {address: 10.0.0.5,  roles: [master]}
    haproxy1: {address: 10.0.0.10, roles: [haproxy]}
    rpc1:     {address: 10.0.1.10, roles: [rpc]}
    db1:      {address: 10.0.2.10, roles: [patroni]}
    db2:      {address: 10.0.2.11, roles: [patroni]}
    etcd1:    {address: 10.0.3.10, roles: [etcd]}
    etcd2:    {address: 10.0.3.11, roles: [etcd]}
  evicted:
    haproxy2: {address: 10.0.0.11, roles: [haproxy]}
    rpc2:     {address: 10.0.1.11, roles: [rpc]}
    db3:      {address: 10.0.2.12, roles: [patroni]}
    etcd3:    {address: 10.0.3.12, roles: [etcd]}
  ports: {rpc_http: 8545, rpc_ws: 8546, haproxy_stats: 8404, postgres_primary: 5432, postgres_replica: 5433,
          postgres: 5432, patroni_rest: 8008, etcd_client: 2379, etcd_peer: 2380, etcd_metrics: 2381}
  timing: {preset: swift}
