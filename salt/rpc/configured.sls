{%- set rpc = pillar.rpc %}
{%- from "rpc/places.jinja" import home, agent_dir, drained %}
{%- set units = {
  "fanatico-rpc.service": True,
  "fanatico-rpc-agent.socket": True,
  "fanatico-rpc-agent.service": True,
  "fanatico-rpc-ws.service": rpc.ws == "proxy",
  "fanatico-rpc-follow.service": rpc.follow,
} %}

User of the RPC node:
  user.present:
    - name: fanatico
    - system: True
    - home: /var/lib/fanatico-rpc
    - createhome: False
    - shell: /usr/sbin/nologin
{%- for unit, wanted in units.items() %}
{%- if wanted %}

{{ unit }} is configured:
  file.managed:
    - name: /etc/systemd/system/{{ unit }}
    - source: salt://rpc/files/{{ unit }}.jinja
    - template: jinja
    - require:
      - user: User of the RPC node
{%- else %}

{{ unit }} is gone:
  service.dead:
    - name: {{ unit }}
    - enable: False
    - onlyif: test -f /etc/systemd/system/{{ unit }}
  file.absent:
    - name: /etc/systemd/system/{{ unit }}
    - require:
      - service: {{ unit }} is gone
{%- endif %}
{%- endfor %}

The RPC node has its environment:
  file.managed:
    - name: /etc/fanatico/rpc.env
    - source: salt://rpc/files/rpc.env.jinja
    - template: jinja
    - makedirs: True
    - mode: "0600"
    - show_changes: False

The RPC node's agent is there:
  file.managed:
    - name: {{ home }}/rpc_agent.py
    - source: salt://rpc/files/rpc_agent.py
    - makedirs: True
    - mode: "0755"

The RPC node's agent has a place for who is taken out:
  file.directory:
    - name: {{ agent_dir }}
    - mode: "0755"

# Where the agent of an earlier release looks, until it is stopped.
Who was taken out stays out:
  file.managed:
    - name: {{ drained }}
    - contents: taken out by a person, with an earlier release
    - replace: False
    - onlyif: test -f /var/lib/fanatico-rpc/drained
    - require:
      - file: The RPC node's agent has a place for who is taken out
    - require_in:
      - file: The RPC node's agent knows the others

The RPC node's agent knows the others:
  file.managed:
    - name: /etc/fanatico/rpc-agent.json
    - source: salt://rpc/files/rpc-agent.json.jinja
    - template: jinja
    - makedirs: True
{%- if rpc.ws == "proxy" %}

WebSocket has a door:
  file.managed:
    - name: {{ home }}/rpc_ws.py
    - source: salt://rpc/files/rpc_ws.py
    - makedirs: True
    - mode: "0755"

The door knows what may be asked:
  file.managed:
    - name: /etc/fanatico/rpc-ws.json
    - source: salt://rpc/files/rpc-ws.json.jinja
    - template: jinja
    - makedirs: True
{%- endif %}
{%- if rpc.follow %}

The anvils can be one chain:
  file.managed:
    - name: {{ home }}/anvil_chain.py
    - source: salt://rpc/files/anvil_chain.py
    - makedirs: True
    - mode: "0755"
{%- endif %}
