include:
  - haproxy.configured

HAProxy runs:
  service.running:
    - name: haproxy
    - enable: True
    - reload: True
    - watch:
      - file: HAProxy is configured
{%- for name in ("rpc_guard.lua", "end_sessions.lua", "rpc-classes.map", "rpc-unlimited.lst", "cloudflare.lst") %}
      - file: HAProxy has {{ name }}
{%- endfor %}
      - file: HAProxy tells keepalived when it stops
    - require:
      - file: HAProxy is configured

# A reload that fails leaves the process before it, and systemd says that all is well.
HAProxy runs with its configuration:
  module.run:
    - fanatico_haproxy.wait_current: []
    - onchanges:
      - service: HAProxy runs
