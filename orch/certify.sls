# Brings the current authorities of the master to every node that has a certificate, and into every daemon that reads one.
# If the trusted authorities of etcd have changed, etcd restarts, one node at a time. Everything else reloads.
{%- set timeouts = pillar.orch.timeouts %}
{%- set nodes = salt["fanatico_plan.nodes"] %}
{{ salt["fanatico_orch.begin"]("certify", roles=[]) }}

# The master's minion signs for all others.
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

# The remaining certificates of every node; the steps above have done the rest.
Install the remaining certificates:
  step.state:
    - failhard: True
    - tgt: {{ nodes() | json }}
    - tgt_type: list
    - sls: roles.certified
    - queue: True
    - timeout: {{ timeouts.rotate }}
    - require:
      - step: Install the certificates of the balancers

{{ salt["fanatico_orch.refresh"]("Refresh the pillar of every host", after="Install the remaining certificates") }}
{{ salt["fanatico_orch.end"](after="Refresh the pillar of every host") }}
