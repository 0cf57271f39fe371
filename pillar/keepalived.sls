#!yaml
# Keepalived: which HAProxy node holds the virtual IP (VRRPv3; address, router id and timing stand in plan.sls).
keepalived:
  interface: auto                 # auto: the interface that carries the node's plan address
