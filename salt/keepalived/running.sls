include:
  - haproxy.running
  - keepalived.configured

# What its unit says of it holds for one that was started with it: how it is scheduled, what it may do.
Restart Keepalived when its unit has changed:
  service.running:
    - name: keepalived
    - watch:
      - file: Remove the virtual IP when Keepalived dies
    - require:
      - service: Start HAProxy
      - file: Configure Keepalived

Start Keepalived:
  service.running:
    - name: keepalived
    - enable: True
    - reload: True
    - watch:
      - file: Configure Keepalived
    - require:
      - service: Restart Keepalived when its unit has changed

Record the identity of the balancer:
  fanatico_identity.kept:
    - name: haproxy
    - require:
      - service: Start Keepalived
