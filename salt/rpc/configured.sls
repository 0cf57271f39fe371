{%- set rpc = pillar.rpc %}
{%- from "rpc/places.jinja" import home, agent_dir, drained %}
{%- set units = {
  "fanatico-rpc.service": True,
  "fanatico-rpc-agent.socket": True,
  "fanatico-rpc-agent.service": True,
  "fanatico-rpc-ws.service": rpc.ws == "proxy",
  "fanatico-rpc-follow.service": rpc.follow,
} %}

Create the user of the RPC node:
  user.present:
    - name: fanatico
    - system: True
    - home: /var/lib/fanatico-rpc
    - createhome: False
    - shell: /usr/sbin/nologin
{%- for unit, wanted in units.items() %}
{%- if wanted %}

Configure {{ unit }}:
  file.managed:
    - name: /etc/systemd/system/{{ unit }}
    - source: salt://rpc/files/{{ unit }}.jinja
    - template: jinja
    - require:
      - user: Create the user of the RPC node
{%- else %}

Remove {{ unit }}:
  service.dead:
    - name: {{ unit }}
    - enable: False
    - onlyif: test -f /etc/systemd/system/{{ unit }}
  file.absent:
    - name: /etc/systemd/system/{{ unit }}
    - require:
      - service: Remove {{ unit }}
{%- endif %}
{%- endfor %}

Write the environment file of the RPC node:
  file.managed:
    - name: /etc/fanatico/rpc.env
    - source: salt://rpc/files/rpc.env.jinja
    - template: jinja
    - makedirs: True
    - mode: "0600"
    - show_changes: False

Install the RPC agent:
  file.managed:
    - name: {{ home }}/rpc_agent.py
    - source: salt://rpc/files/rpc_agent.py
    - makedirs: True
    - mode: "0755"

Create the state directory of the RPC agent:
  file.directory:
    - name: {{ agent_dir }}
    - mode: "0755"

# Where the agent of an earlier release looks, until it is stopped.
Keep a drained RPC node drained:
  file.managed:
    - name: {{ drained }}
    - contents: taken out by a person, with an earlier release
    - replace: False
    - onlyif: test -f /var/lib/fanatico-rpc/drained
    - require:
      - file: Create the state directory of the RPC agent
    - require_in:
      - file: Configure the RPC agent

Configure the RPC agent:
  file.managed:
    - name: /etc/fanatico/rpc-agent.json
    - source: salt://rpc/files/rpc-agent.json.jinja
    - template: jinja
    - makedirs: True
{%- if rpc.ws == "proxy" %}

Install the WebSocket filter proxy:
  file.managed:
    - name: {{ home }}/rpc_ws.py
    - source: salt://rpc/files/rpc_ws.py
    - makedirs: True
    - mode: "0755"

Configure the WebSocket filter proxy:
  file.managed:
    - name: /etc/fanatico/rpc-ws.json
    - source: salt://rpc/files/rpc-ws.json.jinja
    - template: jinja
    - makedirs: True
{%- endif %}
{%- if rpc.follow %}

Install anvil chain sync:
  file.managed:
    - name: {{ home }}/anvil_chain.py
    - source: salt://rpc/files/anvil_chain.py
    - makedirs: True
    - mode: "0755"
{%- endif %}
