include:
  - base.installed

Install nftables:
  pkg.installed:
    - name: nftables
    - install_recommends: False
    - require:
      - file: Prevent packages from starting our services

Configure fanatico-firewall.service:
  file.managed:
    - name: /etc/systemd/system/fanatico-firewall.service
    - source: salt://firewall/files/fanatico-firewall.service

# What `systemctl enable` does, without its processes.
Enable the firewall at boot:
  file.symlink:
    - name: /etc/systemd/system/sysinit.target.wants/fanatico-firewall.service
    - target: /etc/systemd/system/fanatico-firewall.service
    - makedirs: True
    - require:
      - file: Configure fanatico-firewall.service
