# The plan of the suite of backups: its machine holds the database that is backed up, too.
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
    kitchen-rpc:     {address: 10.0.1.210, roles: [rpc]}
    kitchen-backup:  {address: 10.0.3.220, roles: [etcd, patroni, backup]}
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
