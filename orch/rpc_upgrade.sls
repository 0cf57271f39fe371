# The RPC nodes as the pillar has them now (a new artifact, other arguments), one after the other, while the others serve:
# out of rotation, changed, and the next one only when this one is in sync and every balancer sends it requests again.
# Begun again after it broke off, it begins with the first node; one that is as it should be is not restarted.
#
#   salt-run state.orchestrate orch.rpc_upgrade
Check the pillar:
  step.runner:
    - failhard: True
    - name: fanatico.validate

Keep other changes away:
  step.runner:
    - failhard: True
    - name: fanatico.lock
    - require:
      - step: Check the pillar
{%- set before = {"name": "Keep other changes away"} %}
{%- for node in salt["fanatico_plan.nodes"]("rpc") %}

{{ node }} is out of rotation:
  step.runner:
    - failhard: True
    - name: fanatico.drain
    - arg: [{{ node }}, orch.rpc_upgrade]
    - require:
      - step: {{ before.name }}

{{ node }} is as the pillar has it:
  step.state:
    - failhard: True
    - tgt: [{{ node }}]
    - tgt_type: list
    - sls: roles.rpc
    - queue: True
    - timeout: 300
    - require:
      - step: {{ node }} is out of rotation

{{ node }} is in rotation again:
  step.runner:
    - failhard: True
    - name: fanatico.undrain
    - arg: [{{ node }}]
    - require:
      - step: {{ node }} is as the pillar has it
{%- do before.update(name=node ~ " is in rotation again") %}
{%- endfor %}

Let other changes in again:
  step.runner:
    - failhard: True
    - name: fanatico.unlock
    - require:
      - step: {{ before.name }}
