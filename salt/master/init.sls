# The Salt master: deploys, watches and heals. It is never in the path of traffic or failover.
# master.configured    its settings, its unit, its directories
# master.running       enabled and running
# On a new master: salt-call --local --file-root=… --pillar-root=… --id=… state.apply master,minion
include:
  - master.configured
  - master.running
