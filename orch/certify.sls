# What the authorities on the master say now, on every node that holds a certificate, and in every daemon that reads one.
# etcd restarts for it where whom to trust has changed, one node at a time; everything else reloads.
{%- set nodes = salt["fanatico_plan.nodes"] %}

The master's minion knows the pillar as it is:
  step.function:
    - failhard: True
    - name: saltutil.refresh_pillar
    - tgt: {{ nodes("master") | json }}
    - tgt_type: list
    - kwarg: {wait: True}
    - timeout: 60

etcd takes it up:
  step.state:
    - failhard: True
    - tgt: {{ nodes("etcd") | json }}
    - tgt_type: list
    - sls: roles.etcd
    - queue: True
    - timeout: 120
    - require:
      - step: The master's minion knows the pillar as it is

The databases take it up:
  step.state:
    - failhard: True
    - tgt: {{ nodes("patroni") | json }}
    - tgt_type: list
    - sls: roles.patroni
    - queue: True
    - timeout: 120
    - require:
      - step: etcd takes it up

The balancers take it up:
  step.state:
    - failhard: True
    - tgt: {{ nodes("haproxy") | json }}
    - tgt_type: list
    - sls: roles.haproxy
    - queue: True
    - timeout: 120
    - require:
      - step: The databases take it up

# What every node holds; of what stands above nothing is left to do.
The other certificates are taken up:
  step.state:
    - failhard: True
    - tgt: {{ nodes() | json }}
    - tgt_type: list
    - sls: roles.certified
    - queue: True
    - timeout: 120
    - require:
      - step: The balancers take it up

Every node knows the pillar as it is:
  step.function:
    - failhard: True
    - name: saltutil.refresh_pillar
    - tgt: {{ nodes() | json }}
    - tgt_type: list
    - kwarg: {wait: True}
    - timeout: 60
    - require:
      - step: The other certificates are taken up
