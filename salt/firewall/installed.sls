include:
  - base.installed

nftables is installed:
  pkg.installed:
    - name: nftables
    - install_recommends: False
    - require:
      - file: Packages do not start our services

The firewall has its unit:
  file.managed:
    - name: /etc/systemd/system/fanatico-firewall.service
    - source: salt://firewall/files/fanatico-firewall.service

# What `systemctl enable` does, without its processes.
The firewall comes up with the machine:
  file.symlink:
    - name: /etc/systemd/system/sysinit.target.wants/fanatico-firewall.service
    - target: /etc/systemd/system/fanatico-firewall.service
    - makedirs: True
    - require:
      - file: The firewall has its unit
