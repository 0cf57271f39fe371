#!yaml
# Keepalived: which HAProxy node holds the virtual IP (its address, router id and timing stand in plan.sls).
keepalived:
  interface: auto                 # auto: the interface that carries the node's plan address
  vrrp_version: 3                 # 2 knows whole seconds only, but carries a password before Keepalived 2.4
  hmac_mode: enforce              # Keepalived 2.4 and later; permissive while signing is rolled out over running nodes
