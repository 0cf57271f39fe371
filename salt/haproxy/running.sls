include:
  - haproxy.configured
  - edge.running

# The edge first: where one process had all the ports, it lets go of the public's only when another has them.
HAProxy runs:
  service.running:
    - name: haproxy
    - enable: True
    - reload: True
    - watch:
      - file: HAProxy is configured
      - file: HAProxy has end_sessions.lua
      - file: HAProxy tells keepalived when it stops
    - require:
      - file: HAProxy is configured
      - service: The edge runs

# A reload that fails leaves the process before it, and systemd says that all is well.
HAProxy runs with its configuration:
  module.run:
    - fanatico_haproxy.wait_current: []
    - onchanges:
      - service: HAProxy runs

# Until there was the authority `edge`, a balancer's certificate was of the one that clients of PostgreSQL trust, and had the virtual
# IP's name: good for passing for the database.
What could pass for PostgreSQL is no balancer's:
  file.absent:
    - names:
      - /etc/haproxy/pki/service.crt
      - /etc/haproxy/pki/service.key
    - require:
      - service: HAProxy runs
      - module: HAProxy runs with its configuration
      - module: The edge runs with its configuration
