# The one that deploys, watches and heals.
include:
  - master
