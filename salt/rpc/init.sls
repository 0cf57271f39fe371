# An RPC node: whatever program the pillar names, under a hardened unit, on the plan's two ports.
# rpc.installed    the artefact, refused unless it has the SHA-256 of the pillar
# rpc.configured   its user and units
# rpc.running      enabled and running; restarted only when the program, its arguments or its unit change
include:
  - rpc.installed
  - rpc.configured
  - rpc.running
