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
