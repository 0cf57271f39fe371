# The RPC nodes as the pillar has them now (a new artifact, other arguments), one after the other, while the others serve:
# out of rotation, changed, and the next one only when this one is in sync and every balancer sends it requests again.
# Begun again after it broke off, it begins with the first node; one that is as it should be is not restarted.
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
