{%- set rpc = pillar.rpc %}

include:
  - rpc.installed
  - rpc.configured

Start the RPC node:
  service.running:
    - name: fanatico-rpc
    - enable: True
    - watch:
      - {{ "pkg" if rpc.artifact.kind == "package" else "fanatico_artifact" }}: Install the RPC node
      - file: Configure fanatico-rpc.service
      - file: Write the environment file of the RPC node

# That of an earlier release listens itself.
Stop an RPC agent that listens itself:
  service.dead:
    - name: fanatico-rpc-agent
    - unless: systemctl is-active --quiet fanatico-rpc-agent.socket
    - require:
      - file: Configure fanatico-rpc-agent.socket
      - file: Configure fanatico-rpc-agent.service
      - file: Install the RPC agent
      - file: Configure the RPC agent

Start the socket of the RPC agent:
  service.running:
    - name: fanatico-rpc-agent.socket
    - enable: True
    - require:
      - service: Stop an RPC agent that listens itself
    - watch:
      - file: Configure fanatico-rpc-agent.socket

Start the RPC agent:
  service.running:
    - name: fanatico-rpc-agent
    - enable: True
    - require:
      - service: Start the socket of the RPC agent
    - watch:
      - file: Configure fanatico-rpc-agent.service
      - file: Install the RPC agent
      - file: Configure the RPC agent

Remove the obsolete drain file:
  file.absent:
    - name: /var/lib/fanatico-rpc/drained
    - onlyif: test -f /var/lib/fanatico-rpc/drained
    - require:
      - service: Start the RPC agent
{%- if rpc.ws == "proxy" %}

Start the WebSocket filter proxy:
  service.running:
    - name: fanatico-rpc-ws
    - enable: True
    - require:
      - service: Start the RPC node
    - watch:
      - pkg: Install the WebSocket library
      - file: Configure fanatico-rpc-ws.service
      - file: Install the WebSocket filter proxy
      - file: Configure the WebSocket filter proxy
{%- endif %}
{%- if rpc.follow %}

Start anvil chain sync:
  service.running:
    - name: fanatico-rpc-follow
    - enable: True
    - require:
      - service: Start the RPC node
    - watch:
      - file: Configure fanatico-rpc-follow.service
      - file: Install anvil chain sync
{%- endif %}

Record the identity of the RPC node:
  fanatico_identity.kept:
    - name: rpc
    - require:
      - service: Start the RPC node
