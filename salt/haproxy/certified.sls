include:
  - haproxy.installed

HAProxy has its certificate:
  fanatico_pki.issued:
    - name: haproxy
    - require:
      - pkg: HAProxy is installed

# Where it runs.
HAProxy takes up its certificate:
  cmd.run:
    - name: systemctl try-reload-or-restart haproxy
    - onchanges:
      - fanatico_pki: HAProxy has its certificate

The edge takes up its certificate:
  cmd.run:
    - name: systemctl reload haproxy-edge
    - onlyif: systemctl is-active --quiet haproxy-edge
    - onchanges:
      - fanatico_pki: HAProxy has its certificate
