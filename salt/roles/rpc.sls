# Blockchain node.
include:
  - rpc
