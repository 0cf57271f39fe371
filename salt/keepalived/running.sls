include:
  - haproxy.running
  - keepalived.configured

# Scheduling and permissions from the unit apply only after a restart.
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
