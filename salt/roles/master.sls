# Salt master: deploys, watches and heals.
include:
  - master
