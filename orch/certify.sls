# What the authorities on the master say now, on every node that holds a certificate, and in every daemon that reads one.
# etcd restarts for it where whom to trust has changed, one node at a time; everything else reloads.
{%- set timeouts = pillar.orch.timeouts %}
{%- set nodes = salt["fanatico_plan.nodes"] %}
{{ salt["fanatico_orch.begin"]("certify", roles=[]) }}

# It signs for all others.
Refresh the pillar of the master's minion:
  step.function:
    - failhard: True
    - name: saltutil.refresh_pillar
    - tgt: {{ nodes("master") | json }}
    - tgt_type: list
    - kwarg: {wait: True}
    - timeout: {{ timeouts.pillar }}

Install the certificates of etcd:
  step.state:
    - failhard: True
    - tgt: {{ nodes("etcd") | json }}
    - tgt_type: list
    - sls: roles.etcd
    - queue: True
    - timeout: {{ timeouts.rotate }}
    - require:
      - step: Refresh the pillar of the master's minion

Install the certificates of the databases:
  step.state:
    - failhard: True
    - tgt: {{ nodes("patroni") | json }}
    - tgt_type: list
    - sls: roles.patroni
    - queue: True
    - timeout: {{ timeouts.rotate }}
    - require:
      - step: Install the certificates of etcd

Install the certificates of the balancers:
  step.state:
    - failhard: True
    - tgt: {{ nodes("haproxy") | json }}
    - tgt_type: list
    - sls: roles.haproxy
    - queue: True
    - timeout: {{ timeouts.rotate }}
    - require:
      - step: Install the certificates of the databases

{{ salt["fanatico_orch.refresh"]("Refresh the pillar of every host", after="Install the certificates of the balancers") }}
{{ salt["fanatico_orch.end"](after="Refresh the pillar of every host") }}
