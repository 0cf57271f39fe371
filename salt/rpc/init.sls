# An RPC node: the program that the pillar names, under a hardened unit, on the plan's two ports.
# rpc.installed    the artifact; refused unless its SHA-256 matches the pillar
# rpc.configured   its user and units
# rpc.running      enabled and running; restarted only when the program, its arguments or its unit changes
include:
  - rpc.installed
  - rpc.configured
  - rpc.running
