# From connected minions to a working infrastructure, and the same again on a running one: every step looks at what is
# there and changes only what differs. Order matters: etcd keeps Patroni's state, Patroni tells HAProxy who leads.
#
#   salt-run state.orchestrate orch.deploy          (in another terminal: salt-run fanatico.watch)
{%- set timeouts = pillar.orch.timeouts %}
{%- set nodes = salt["fanatico_plan.nodes"] %}
{{ salt["fanatico_orch.begin"]("deploy", admit=True) }}

# Handing all of them out takes longer than the states of a deploy that changes nothing.
Sync the modules of every host:
  step.runner:
    - failhard: True
    - name: fanatico.sync_modules
    - timeout: {{ timeouts.modules }}
    - require:
      - step: Refresh the pillar of every host

# All hosts at once: installing packages is most of the time of a first deploy.
Prepare every host:
  step.function:
    - failhard: True
    - name: state.apply
    - tgt: {{ nodes() | json }}
    - tgt_type: list
    - arg: [roles.prepared]
    - kwarg: {queue: True}
    - timeout: {{ timeouts.prepare }}
    - require:
      - step: Sync the modules of every host

Bring up etcd:
  step.orchestration:
    - failhard: True
    - name: orch.etcd
    - require:
      - step: Prepare every host

# The RPC nodes need nobody, so they start beside etcd.
Bring up the RPC nodes:
  step.state:
    - failhard: True
    - tgt: {{ nodes("rpc") | json }}
    - tgt_type: list
    - sls: roles.rpc
    - queue: True
    - parallel: True
    - timeout: {{ timeouts.apply }}
    - require:
      - step: Prepare every host

Bring up PostgreSQL:
  step.orchestration:
    - failhard: True
    - name: orch.patroni
    - require:
      - step: Bring up etcd

# One after the other: what restarts Keepalived or HAProxy on one finds the virtual IP on the other.
{%- for node in nodes("haproxy") %}

Bring up {{ node }}:
  step.state:
    - failhard: True
    - tgt: {{ node }}
    - sls: roles.haproxy
    - queue: True
    - timeout: {{ timeouts.apply }}
    - require:
{%- if loop.first %}
      - step: Bring up PostgreSQL
      - step: Bring up the RPC nodes
{%- else %}
      - step: Wait for the virtual IP to answer {{ loop.previtem }}
{%- endif %}

Wait for the virtual IP to answer {{ node }}:
  step.function:
    - failhard: True
    - name: fanatico_keepalived.wait_address
    - tgt: {{ node }}
    - timeout: {{ timeouts.ready }}
    - require:
      - step: Bring up {{ node }}
{%- endfor %}

{{ salt["fanatico_orch.prove"](after="Wait for the virtual IP to answer " ~ nodes("haproxy")[-1]) }}
{{ salt["fanatico_orch.end"](after="Prove the service end to end") }}
