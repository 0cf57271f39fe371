include:
  - haproxy.running
  - keepalived.configured

# What its unit says of it holds for one that was started with it: how it is scheduled, what it may do.
Keepalived runs as its unit has it:
  service.running:
    - name: keepalived
    - watch:
      - file: A killed Keepalived leaves no address behind
    - require:
      - service: HAProxy runs
      - file: Keepalived is configured

Keepalived runs:
  service.running:
    - name: keepalived
    - enable: True
    - reload: True
    - watch:
      - file: Keepalived is configured
    - require:
      - service: Keepalived runs as its unit has it

What haproxy runs with is known:
  fanatico_identity.kept:
    - name: haproxy
    - require:
      - service: Keepalived runs
