{%- set rpc = pillar.rpc %}

include:
  - rpc.installed
  - rpc.configured

The RPC node runs:
  service.running:
    - name: fanatico-rpc
    - enable: True
    - watch:
      - {{ "pkg" if rpc.artifact.kind == "package" else "fanatico_artifact" }}: The RPC node is installed
      - file: fanatico-rpc.service is configured
      - file: The RPC node has its environment

# That of an earlier release listens itself.
The RPC node's agent leaves its port to systemd:
  service.dead:
    - name: fanatico-rpc-agent
    - unless: systemctl is-active --quiet fanatico-rpc-agent.socket
    - require:
      - file: fanatico-rpc-agent.socket is configured
      - file: fanatico-rpc-agent.service is configured
      - file: The RPC node's agent is there
      - file: The RPC node's agent knows the others

The RPC node's agent has its port:
  service.running:
    - name: fanatico-rpc-agent.socket
    - enable: True
    - require:
      - service: The RPC node's agent leaves its port to systemd
    - watch:
      - file: fanatico-rpc-agent.socket is configured

The RPC node's agent runs:
  service.running:
    - name: fanatico-rpc-agent
    - enable: True
    - require:
      - service: The RPC node's agent has its port
    - watch:
      - file: fanatico-rpc-agent.service is configured
      - file: The RPC node's agent is there
      - file: The RPC node's agent knows the others

Nobody looks among the chain's data who was taken out:
  file.absent:
    - name: /var/lib/fanatico-rpc/drained
    - onlyif: test -f /var/lib/fanatico-rpc/drained
    - require:
      - service: The RPC node's agent runs
{%- if rpc.ws == "proxy" %}

WebSocket has a port of its own:
  service.running:
    - name: fanatico-rpc-ws
    - enable: True
    - require:
      - service: The RPC node runs
    - watch:
      - pkg: What leads WebSockets is installed
      - file: fanatico-rpc-ws.service is configured
      - file: WebSocket has a door
      - file: The door knows what may be asked
{%- endif %}
{%- if rpc.follow %}

The RPC node follows the others:
  service.running:
    - name: fanatico-rpc-follow
    - enable: True
    - require:
      - service: The RPC node runs
    - watch:
      - file: fanatico-rpc-follow.service is configured
      - file: The anvils can be one chain
{%- endif %}

What rpc runs with is known:
  fanatico_identity.kept:
    - name: rpc
    - require:
      - service: The RPC node runs
