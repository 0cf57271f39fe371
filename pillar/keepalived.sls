#!yaml
# Keepalived: which balancer holds the virtual IP (its address, router ID and timing are in plan.sls).
keepalived:
  interface: auto                 # auto: the interface with the node's address in the plan
  vrrp_version: 3                 # version 2 allows whole seconds only, but supports a password before Keepalived 2.4
  hmac_mode: enforce              # Keepalived 2.4 and later; permissive while signing is rolled out to running nodes
