# The edge: a HAProxy of its own for what the public reaches, JSON-RPC and WebSocket.
# edge.installed    its user, and a name of its own for the program
# edge.configured   edge.cfg, what rpc_guard.lua goes by, its unit
# edge.running      enabled and running; reloads when the configuration changes
include:
  - edge.installed
  - edge.configured
  - edge.running
