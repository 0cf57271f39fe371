#!yaml
# Other subnets with other prefix lengths, no gateways, other node names, every port moved, a wide-area timing;
# a database host that is the Salt master too, and a single etcd member.
plan:
  name: other-ports
  version: 0.6.1
  networks:
    front: {cidr: 172.20.0.0/26}
    back:  {cidr: 172.21.8.0/21}
  virtual_ip: {address: 172.20.0.60, router_id: 255}
  nodes:
    balancer-a: {address: 172.20.0.2, roles: [haproxy]}
    balancer-b: {address: 172.20.0.3, roles: [haproxy]}
    node-a: {address: 172.20.0.10, roles: [rpc]}
    node-b: {address: 172.20.0.11, roles: [rpc]}
    pg-a: {address: 172.21.9.10, roles: [patroni, master]}
    pg-b: {address: 172.21.9.11, roles: [patroni]}
    store: {address: 172.21.15.200, roles: [etcd]}
  ports: {rpc_http: 18545, rpc_ws: 18546, haproxy_stats: 18404, postgres_primary: 15432, postgres_replica: 15433,
          postgres: 6432, patroni_rest: 18008, etcd_client: 12379, etcd_peer: 12380, etcd_metrics: 12381}
  timing: {preset: wide, haproxy: {rise: 3, fall: 3}}
