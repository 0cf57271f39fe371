# nftables: allowed connections, derived from the plan (_utils/fanatico_firewall.py). We own one table; other tables stay.
# firewall.installed   nft, and the unit that loads the confirmed rules at boot
# firewall.loaded      the rules; rolled back automatically if the master is not reachable through them
include:
  - firewall.installed
  - firewall.loaded
