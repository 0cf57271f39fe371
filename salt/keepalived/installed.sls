include:
  - base.installed

Keepalived is installed:
  pkg.installed:
    - name: keepalived
    - install_recommends: False
    - require:
      - file: Packages do not start our services
