include:
  - haproxy.configured
  - edge.running

# The edge first: an older HAProxy that holds all ports releases the public ports only after the edge has opened them.
Start HAProxy:
  service.running:
    - name: haproxy
    - enable: True
    - reload: True
    - watch:
      - file: Configure HAProxy
      - file: Install end_sessions.lua for HAProxy
      - file: Configure haproxy.service
    - require:
      - file: Configure HAProxy
      - service: Start the edge

# After a failed reload the old process keeps running, and systemd still reports success.
Check that HAProxy runs its current configuration:
  module.run:
    - fanatico_haproxy.wait_current: []
    - onchanges:
      - service: Start HAProxy

# Before the authority `edge` existed, a balancer's certificate came from the authority that PostgreSQL clients trust, with the
# name of the virtual IP: it could be used to impersonate the database.
Remove the obsolete service certificate from the balancer:
  file.absent:
    - names:
      - /etc/haproxy/pki/service.crt
      - /etc/haproxy/pki/service.key
    - require:
      - service: Start HAProxy
      - module: Check that HAProxy runs its current configuration
      - module: Check that the edge runs its current configuration
