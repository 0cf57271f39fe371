include:
  - edge.configured

The edge runs:
  service.running:
    - name: haproxy-edge
    - enable: True
    - reload: True
    - watch:
      - file: The edge is configured
{%- for name in ("rpc_guard.lua", "rpc-classes.map", "rpc-unlimited.lst", "cloudflare.lst") %}
      - file: The edge has {{ name }}
{%- endfor %}
      - file: The edge has its unit
    - require:
      - file: The edge is configured

# A reload that fails leaves the process before it, and systemd says that all is well.
The edge runs with its configuration:
  module.run:
    - fanatico_haproxy.wait_current:
      - unit: haproxy-edge
    - onchanges:
      - service: The edge runs
