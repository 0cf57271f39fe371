include:
  - base.installed

Install Keepalived:
  pkg.installed:
    - name: keepalived
    - install_recommends: False
    - require:
      - file: Prevent packages from starting our services
