# From connected minions to a working infrastructure. On a running infrastructure, every step reads the live state and changes
# only what differs. Order matters: etcd stores Patroni's state, and Patroni reports the leader to HAProxy.
#
#   salt-run state.orchestrate orch.deploy          (in another terminal: salt-run fanatico.watch)
{%- set timeouts = pillar.orch.timeouts %}
{%- set nodes = salt["fanatico_plan.nodes"] %}
{{ salt["fanatico_orch.begin"]("deploy", admit=True) }}

# Sending the modules takes longer than the states of a deploy that changes nothing.
Sync the modules of every host:
  step.runner:
    - failhard: True
    - name: fanatico.sync_modules
    - timeout: {{ timeouts.modules }}
    - require:
      - step: Refresh the pillar of every host

# All hosts at once: most of the time of a first deploy is spent on installing packages.
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

# The RPC nodes depend on no other role, so they start in parallel with etcd.
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

# The repository needs the primary, and nothing else needs the repository.
{%- for node in nodes("backup") %}

Bring up {{ node }}:
  step.state:
    - failhard: True
    - tgt: {{ node }}
    - sls: roles.backup
    - queue: True
    - parallel: True
    - timeout: {{ timeouts.apply }}
    - require:
      - step: Bring up PostgreSQL
{%- endfor %}

# One balancer at a time: if a change restarts Keepalived or HAProxy on one, the other holds the virtual IP.
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
      - step: Wait until {{ loop.previtem }} reaches the virtual IP
{%- endif %}

Wait until {{ node }} reaches the virtual IP:
  step.function:
    - failhard: True
    - name: fanatico_keepalived.wait_address
    - tgt: {{ node }}
    - timeout: {{ timeouts.ready }}
    - require:
      - step: Bring up {{ node }}
{%- endfor %}

{%- if nodes("backup") %}

# WAL that the primary writes now arrives.
Check that WAL is archived:
  step.function:
    - failhard: True
    - name: fanatico_backup.check
    - tgt: {{ nodes("backup") | json }}
    - tgt_type: list
    - timeout: {{ timeouts.ready }}
    - require:
      - step: Wait until {{ nodes("haproxy")[-1] }} reaches the virtual IP
{%- for node in nodes("backup") %}
      - step: Bring up {{ node }}
{%- endfor %}
{%- endif %}

{{ salt["fanatico_orch.prove"](after="Check that WAL is archived" if nodes("backup") else "Wait until " ~ nodes("haproxy")[-1] ~ " reaches the virtual IP") }}
{{ salt["fanatico_orch.end"](after="Prove the service end to end") }}
