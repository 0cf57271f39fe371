# The edge: a separate HAProxy process for public traffic, JSON-RPC and WebSocket.
# edge.installed    its user, and a program name of its own
# edge.configured   edge.cfg, rpc_guard.lua and its lists, the unit
# edge.running      enabled and running; reloads when the configuration changes
include:
  - edge.installed
  - edge.configured
  - edge.running
