include:
  - haproxy.certified
  - haproxy.configured
  - edge.installed
{%- set haproxy = pillar.haproxy %}

{%- for name in ("rpc-classes.map", "rpc-unlimited.lst", "cloudflare.lst") %}

Install {{ name }} for the edge:
  file.managed:
    - name: /etc/haproxy/{{ name }}
    - source: salt://edge/files/{{ name }}.jinja
    - template: jinja
    - require:
      - pkg: Install HAProxy
    - require_in:
      - file: Configure the edge
{%- endfor %}

Install rpc_guard.lua for the edge:
  file.managed:
    - name: /etc/haproxy/rpc_guard.lua
    - source: salt://edge/files/rpc_guard.lua
    - require:
      - pkg: Install HAProxy
    - require_in:
      - file: Configure the edge

# Read by HAProxy before it gives up root: what rpc_guard.lua has judged is told from what others on this host send.
Generate the key of the edge's internal requests:
  cmd.run:
    - name: umask 077; head -c 32 /dev/urandom | sha256sum | cut -d ' ' -f 1 > /etc/haproxy/rpc-judged.key
    - unless: test -s /etc/haproxy/rpc-judged.key
    - require:
      - pkg: Install HAProxy
    - require_in:
      - file: Configure the edge

Configure the edge:
  file.managed:
    - name: /etc/haproxy/edge.cfg
    - source: salt://edge/files/edge.cfg.jinja
    - template: jinja
    - mode: "0640"
    - show_changes: False
    - check_cmd: haproxy -c -q -f
    - require:
      - fanatico_pki: Issue certificates for HAProxy
      - cmd: Allow HAProxy to bind the virtual IP on a standby
      - user: Create the user of the edge
      - file: Create the root directory of the edge

Configure haproxy-edge.service:
  file.managed:
    - name: /etc/systemd/system/haproxy-edge.service
    - source: salt://edge/files/haproxy-edge.service.jinja
    - template: jinja
    - context:
        memory: {{ haproxy.edge.memory }}
    - require:
      - file: Link the edge's program to HAProxy
