include:
  - edge.configured

Start the edge:
  service.running:
    - name: haproxy-edge
    - enable: True
    - reload: True
    - watch:
      - file: Configure the edge
{%- for name in ("rpc_guard.lua", "rpc-classes.map", "rpc-unlimited.lst", "cloudflare.lst") %}
      - file: Install {{ name }} for the edge
{%- endfor %}
      - file: Configure haproxy-edge.service
    - require:
      - file: Configure the edge

# A reload that fails leaves the process before it, and systemd says that all is well.
Check that the edge runs its current configuration:
  module.run:
    - fanatico_haproxy.wait_current:
      - unit: haproxy-edge
    - onchanges:
      - service: Start the edge
