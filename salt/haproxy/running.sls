include:
  - haproxy.configured

HAProxy runs:
  service.running:
    - name: haproxy
    - enable: True
    - reload: True
    - watch:
      - file: HAProxy is configured
      - file: HAProxy tells keepalived when it stops
    - require:
      - file: HAProxy is configured
