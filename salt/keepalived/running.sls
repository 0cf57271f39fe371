include:
  - haproxy.running
  - keepalived.configured

Keepalived runs:
  service.running:
    - name: keepalived
    - enable: True
    - reload: True
    - watch:
      - file: Keepalived is configured
      - file: A killed Keepalived leaves no address behind
    - require:
      - service: HAProxy runs
      - file: Keepalived is configured
