include:
  - firewall.installed

Load the firewall rules:
  fanatico_firewall.loaded:
    - require:
      - pkg: Install nftables
      - file: Configure fanatico-firewall.service
