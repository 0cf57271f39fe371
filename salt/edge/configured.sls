include:
  - haproxy.certified
  - haproxy.configured
  - edge.installed
{%- set haproxy = pillar.haproxy %}

{%- for name in ("rpc-classes.map", "rpc-unlimited.lst", "cloudflare.lst") %}

The edge has {{ name }}:
  file.managed:
    - name: /etc/haproxy/{{ name }}
    - source: salt://edge/files/{{ name }}.jinja
    - template: jinja
    - require:
      - pkg: HAProxy is installed
    - require_in:
      - file: The edge is configured
{%- endfor %}

The edge has rpc_guard.lua:
  file.managed:
    - name: /etc/haproxy/rpc_guard.lua
    - source: salt://edge/files/rpc_guard.lua
    - require:
      - pkg: HAProxy is installed
    - require_in:
      - file: The edge is configured

# Read by HAProxy before it gives up root: what rpc_guard.lua has judged is told from what others on this host send.
The edge has a key for what it asks itself:
  cmd.run:
    - name: umask 077; head -c 32 /dev/urandom | sha256sum | cut -d ' ' -f 1 > /etc/haproxy/rpc-judged.key
    - unless: test -s /etc/haproxy/rpc-judged.key
    - require:
      - pkg: HAProxy is installed
    - require_in:
      - file: The edge is configured

The edge is configured:
  file.managed:
    - name: /etc/haproxy/edge.cfg
    - source: salt://edge/files/edge.cfg.jinja
    - template: jinja
    - mode: "0640"
    - show_changes: False
    - check_cmd: haproxy -c -q -f
    - require:
      - fanatico_pki: HAProxy has its certificate
      - cmd: HAProxy may bind an address that is elsewhere
      - user: User for the edge
      - file: The edge has a root directory

The edge has its unit:
  file.managed:
    - name: /etc/systemd/system/haproxy-edge.service
    - source: salt://edge/files/haproxy-edge.service.jinja
    - template: jinja
    - context:
        memory: {{ haproxy.edge.memory }}
    - require:
      - file: The edge has a name of its own
