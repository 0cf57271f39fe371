# The plan of HAProxy's suite: behind the balancer are addresses that no suite's machine has. So nothing answers there,
# whichever machines of other suites are on.
plan:
  name: kitchen
  version: 0.5.0.0
  networks:
    edge:     {cidr: 10.0.0.0/24, gateway: 10.0.0.1}
    rpc:      {cidr: 10.0.1.0/24, gateway: 10.0.1.1}
    database: {cidr: 10.0.2.0/24, gateway: 10.0.2.1}
    etcd:     {cidr: 10.0.3.0/24, gateway: 10.0.3.1}
  virtual_ip: {address: 10.0.0.220, router_id: 220}
  nodes:
    kitchen-master:  {address: 10.0.0.205, roles: [master]}
    kitchen-haproxy: {address: 10.0.0.210, roles: [haproxy]}
    absent-rpc:      {address: 10.0.1.219, roles: [rpc]}
    absent-patroni:  {address: 10.0.2.219, roles: [patroni]}
    absent-etcd:     {address: 10.0.3.219, roles: [etcd]}
  ports:
    rpc_http: 8545
    rpc_ws: 8546
    haproxy_stats: 8404
    postgres_primary: 5432
    postgres_replica: 5433
    postgres: 5432
    patroni_rest: 8008
    etcd_client: 2379
    etcd_peer: 2380
    etcd_metrics: 2381
  timing: {preset: swift}
