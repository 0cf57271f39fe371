#!yaml
# The plan: hosts, roles, addresses. The topology is in this file and nowhere else.
#
# Pure YAML, no Jinja: the states, the lab, the roster and `salt-run fanatico.validate` all read it directly.
# To add a node: one line under `nodes`, then docs/fleet.md, "Add a node". After every change, run `salt-run fanatico.validate`.

plan:
  name: fanatico-l1
  version: 0.5.0.0

  networks:                       # every node address is in exactly one of these; gateway = its default route
    edge:     {cidr: 10.0.0.0/24, gateway: 10.0.0.1}
    rpc:      {cidr: 10.0.1.0/24, gateway: 10.0.1.1}
    database: {cidr: 10.0.2.0/24, gateway: 10.0.2.1}
    etcd:     {cidr: 10.0.3.0/24, gateway: 10.0.3.1}
    ops:      {cidr: 10.0.4.0/24, gateway: 10.0.4.1}

  virtual_ip:
    address: 10.0.0.100           # unused, in the network of the haproxy nodes
    router_id: 51                 # VRRP router id, 1-255, unique in that network

  # minion ID: address, roles (master, etcd, patroni, backup, haproxy, rpc; a node may have several) and, if hosts may fail together,
  # failure_domain: the leaders of etcd and of Patroni are kept in different domains.
  nodes:
    salt:     {address: 10.0.0.5,  roles: [master]}
    haproxy1: {address: 10.0.0.10, roles: [haproxy]}
    haproxy2: {address: 10.0.0.11, roles: [haproxy]}
    rpc1:     {address: 10.0.1.10, roles: [rpc]}
    rpc2:     {address: 10.0.1.11, roles: [rpc]}
    rpc3:     {address: 10.0.1.12, roles: [rpc]}
    db1:      {address: 10.0.2.10, roles: [patroni]}
    db2:      {address: 10.0.2.11, roles: [patroni]}
    db3:      {address: 10.0.2.12, roles: [patroni]}
    etcd1:    {address: 10.0.3.10, roles: [etcd]}
    etcd2:    {address: 10.0.3.11, roles: [etcd]}
    etcd3:    {address: 10.0.3.12, roles: [etcd]}
    ops1:     {address: 10.0.4.10, roles: [backup]}

  # Hosts that are evicted for good, each with its line from above: docs/security.md, "A host that is lost".
  # evicted:
  #   db4: {address: 10.0.2.13, roles: [patroni]}

  ports:
    rpc_http: 8545                # on the virtual IP and on the rpc nodes
    rpc_ws: 8546
    haproxy_stats: 8404           # internal
    postgres_primary: 5432        # on the virtual IP: the primary
    postgres_replica: 5433        # on the virtual IP: the replicas
    postgres: 5432                # on the patroni nodes
    patroni_rest: 8008
    etcd_client: 2379
    etcd_peer: 2380
    etcd_metrics: 2381

  timing:
    # How fast a fault is detected, for all parts: swift (one site), norm (several rooms, or virtual machines that are migrated
    # while they run), wide (several regions). Override a value beside it: {preset: norm, vrrp: {advert: 1}}.
    # Meaning and cost of each preset: docs/failover.md; values in force: `salt db1 fanatico_plan.timing`.
    preset: swift
