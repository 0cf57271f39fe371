include:
  - base.installed

Install HAProxy:
  pkg.installed:
    - name: haproxy
    - install_recommends: False
    - require:
      - file: Prevent packages from starting our services
