# Applies the pillar to the RPC nodes (a new artifact, new arguments), one node at a time, while the others serve. Each node is
# drained and changed. The next node follows when this node is in sync and every balancer sends it requests again.
# After an interruption, run it again: it starts with the first node. A node that is up to date is not restarted.
#
#   salt-run state.orchestrate orch.rpc_upgrade
{%- set timeouts = pillar.orch.timeouts %}
{%- set before = {"name": "Refresh the pillar of every host"} %}
{{ salt["fanatico_orch.begin"]("rpc_upgrade", roles=["rpc", "haproxy"]) }}
{%- for node in salt["fanatico_plan.nodes"]("rpc") %}

Drain {{ node }}:
  step.runner:
    - failhard: True
    - name: fanatico.drain
    - arg: [{{ node }}, orch.rpc_upgrade]
    - require:
      - step: {{ before.name }}

Upgrade {{ node }}:
  step.state:
    - failhard: True
    - tgt: [{{ node }}]
    - tgt_type: list
    - sls: roles.rpc
    - queue: True
    - timeout: {{ timeouts.upgrade }}
    - require:
      - step: Drain {{ node }}

Return {{ node }} to rotation:
  step.runner:
    - failhard: True
    - name: fanatico.undrain
    - arg: [{{ node }}]
    - require:
      - step: Upgrade {{ node }}
{%- do before.update(name="Return " ~ node ~ " to rotation") %}
{%- endfor %}

{{ salt["fanatico_orch.end"](after=before.name) }}
