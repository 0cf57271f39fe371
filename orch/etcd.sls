# etcd on all its nodes at once. The live state of the nodes decides whether a new cluster is founded.
{%- set timeouts = pillar.orch.timeouts %}
{%- set nodes = salt["fanatico_plan.nodes"]("etcd") %}
{%- set bootstrap = salt["saltutil.runner"]("fanatico.etcd_bootstrap") %}
{%- if bootstrap is string %}{{ raise(bootstrap) }}{% endif %}
{{ salt["fanatico_orch.begin"]("etcd", roles=[]) }}

Configure and start etcd:
  step.state:
    - failhard: True
    - tgt: {{ nodes | json }}
    - tgt_type: list
    - sls: roles.etcd
    - queue: True
    - pillar:
        etcd: {{ bootstrap | json }}
    - timeout: {{ timeouts.apply }}

Wait for the quorum of etcd:
  step.function:
    - failhard: True
    - name: fanatico_etcd.wait_quorum
    - tgt: {{ nodes[0] }}
    - timeout: {{ timeouts.ready }}
    - require:
      - step: Configure and start etcd

{{ salt["fanatico_orch.end"](after="Wait for the quorum of etcd") }}
