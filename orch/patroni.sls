# PostgreSQL under Patroni: the nodes that hold data until one leads (on a first deploy one node alone), then the others,
# which copy from the leader, until every replica streams. What only a leader can do, roles and settings, its own highstate does.
{%- set timeouts = pillar.orch.timeouts %}
{%- set nodes = salt["fanatico_plan.nodes"]("patroni") %}
{%- set first = salt["saltutil.runner"]("fanatico.patroni_first") %}
{%- if first is string %}{{ raise(first) }}{% endif %}
{%- set others = nodes | reject("in", first) | list %}
{{ salt["fanatico_orch.begin"]("patroni", roles=[]) }}

# The leader gives new parameters to all: each is asked first whether it could start with them.
Try the parameters on every database host:
  step.state:
    - failhard: True
    - tgt: {{ nodes | json }}
    - tgt_type: list
    - sls: postgresql.startable
    - queue: True
    - timeout: {{ timeouts.apply }}

Start Patroni where there is data, or on one host:
  step.state:
    - failhard: True
    - tgt: {{ first | json }}
    - tgt_type: list
    - sls: roles.patroni
    - queue: True
    - timeout: {{ timeouts.apply }}
    - require:
      - step: Try the parameters on every database host

Wait for a leader:
  step.function:
    - failhard: True
    - name: fanatico_patroni.wait_leader
    - tgt: {{ first[0] }}
    - timeout: {{ timeouts.ready }}
    - require:
      - step: Start Patroni where there is data, or on one host
{%- if others %}

Start Patroni on the other hosts:
  step.state:
    - failhard: True
    - tgt: {{ others | json }}
    - tgt_type: list
    - sls: roles.patroni
    - queue: True
    - timeout: {{ timeouts.apply }}
    - require:
      - step: Wait for a leader
{%- endif %}

Wait until every replica streams:
  step.function:
    - failhard: True
    - name: fanatico_patroni.wait_streaming
    - tgt: {{ first[0] }}
    - kwarg:
        members: {{ nodes | json }}
    - timeout: {{ timeouts.ready }}
    - require:
      - step: {{ "Start Patroni on the other hosts" if others else "Wait for a leader" }}

{{ salt["fanatico_orch.end"](after="Wait until every replica streams") }}
