# nftables: who may talk to whom, by the plan (_utils/fanatico_firewall.py). Ours is one table; others stay as they are.
# firewall.installed   nft, and the unit that loads the confirmed rules at boot
# firewall.loaded      the rules, taken back by themselves where the master cannot be reached through them
include:
  - firewall.installed
  - firewall.loaded
