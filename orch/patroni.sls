# PostgreSQL under Patroni: the nodes that hold data until one leads (on a first deploy one node alone), then the others,
# which copy from the leader, until every replica streams. What only a leader can do, roles and settings, its own highstate does.
{%- set nodes = salt["fanatico_plan.nodes"]("patroni") %}
{%- set first = salt["saltutil.runner"]("fanatico.patroni_first") %}
{%- if first is string %}{{ raise(first) }}{% endif %}
{%- set others = nodes | reject("in", first) | list %}

# The leader gives new parameters to all: each is asked first whether it could start with them.
Every database host can start with the parameters:
  step.state:
    - failhard: True
    - tgt: {{ nodes | json }}
    - tgt_type: list
    - sls: postgresql.tried
    - queue: True
    - timeout: 60

Start Patroni where there is data, or on one node:
  step.state:
    - failhard: True
    - tgt: {{ first | json }}
    - tgt_type: list
    - sls: roles.patroni
    - queue: True
    - timeout: 60
    - require:
      - step: Every database host can start with the parameters

There is a leader:
  step.function:
    - failhard: True
    - name: fanatico_patroni.wait_leader
    - tgt: {{ first[0] }}
    - timeout: 60
    - require:
      - step: Start Patroni where there is data, or on one node
{%- if others %}

Start Patroni on the others:
  step.state:
    - failhard: True
    - tgt: {{ others | json }}
    - tgt_type: list
    - sls: roles.patroni
    - queue: True
    - timeout: 60
    - require:
      - step: There is a leader
{%- endif %}

Every replica streams:
  step.function:
    - failhard: True
    - name: fanatico_patroni.wait_streaming
    - tgt: {{ first[0] }}
    - kwarg:
        members: {{ nodes | json }}
    - timeout: 60
    - require:
      - step: {{ "Start Patroni on the others" if others else "There is a leader" }}
