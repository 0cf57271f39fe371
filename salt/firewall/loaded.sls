include:
  - firewall.installed

The firewall follows the plan:
  fanatico_firewall.loaded:
    - require:
      - pkg: nftables is installed
      - file: The firewall has its unit
