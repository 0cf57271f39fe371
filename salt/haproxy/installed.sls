include:
  - base.installed

HAProxy is installed:
  pkg.installed:
    - name: haproxy
    - install_recommends: False
    - require:
      - file: Packages do not start our services
