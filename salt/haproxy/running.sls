include:
  - haproxy.configured
  - edge.running

# The edge first: where one process had all the ports, it lets go of the public's only when another has them.
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

# A reload that fails leaves the process before it, and systemd says that all is well.
Check that HAProxy runs its current configuration:
  module.run:
    - fanatico_haproxy.wait_current: []
    - onchanges:
      - service: Start HAProxy

# Until there was the authority `edge`, a balancer's certificate was of the one that clients of PostgreSQL trust, and had the virtual
# IP's name: good for passing for the database.
Remove the obsolete service certificate from the balancer:
  file.absent:
    - names:
      - /etc/haproxy/pki/service.crt
      - /etc/haproxy/pki/service.key
    - require:
      - service: Start HAProxy
      - module: Check that HAProxy runs its current configuration
      - module: Check that the edge runs its current configuration
