# From connected minions to a working infrastructure, and the same again on a running one: every step looks at what is
# there and changes only what differs. Order matters: etcd keeps Patroni's state, Patroni tells HAProxy who leads.
#
#   salt-run state.orchestrate orch.deploy          (in another terminal: salt-run fanatico.watch)
{%- set nodes = salt["fanatico_plan.nodes"] %}

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

# A host that is new in the plan reaches the master only then.
The master lets every machine in:
  step.runner:
    - failhard: True
    - name: fanatico.admit
    - require:
      - step: Keep other changes away

Every machine answers:
  step.runner:
    - failhard: True
    - name: fanatico.wait_minions
    - require:
      - step: The master lets every machine in

# A state run compiles a pillar of its own; everything else, the master's signing of certificates, health checks, beacons and
# cures among it, goes by the one that a minion has had since it started.
Every node knows the pillar as it is:
  step.function:
    - failhard: True
    - name: saltutil.refresh_pillar
    - tgt: {{ nodes() | json }}
    - tgt_type: list
    - kwarg: {wait: True}
    - timeout: 60
    - require:
      - step: Every machine answers

# Handing all of them out takes longer than the states of a deploy that changes nothing.
Every node has our modules:
  step.runner:
    - failhard: True
    - name: fanatico.sync_modules
    - require:
      - step: Every node knows the pillar as it is

# All machines at once: installing packages is most of the time of a first deploy.
Prepare every machine:
  step.function:
    - failhard: True
    - name: state.apply
    - tgt: {{ nodes() | json }}
    - tgt_type: list
    - arg: [roles.prepared]
    - kwarg: {queue: True}
    - timeout: 300
    - require:
      - step: Every node has our modules

Bring up etcd:
  step.orchestration:
    - failhard: True
    - name: orch.etcd
    - require:
      - step: Prepare every machine

# The RPC nodes need nobody, so they start beside etcd.
Bring up the RPC nodes:
  step.state:
    - failhard: True
    - tgt: {{ nodes("rpc") | json }}
    - tgt_type: list
    - sls: roles.rpc
    - queue: True
    - parallel: True
    - timeout: 60
    - require:
      - step: Prepare every machine

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
    - timeout: 60
    - require:
{%- if loop.first %}
      - step: Bring up PostgreSQL
      - step: Bring up the RPC nodes
{%- else %}
      - step: The virtual IP answers {{ loop.previtem }}
{%- endif %}

The virtual IP answers {{ node }}:
  step.function:
    - failhard: True
    - name: fanatico_keepalived.wait_address
    - tgt: {{ node }}
    - timeout: 60
    - require:
      - step: Bring up {{ node }}
{%- endfor %}

Prove it end to end:
  step.function:
    - failhard: True
    - name: fanatico.proof
    - tgt: {{ nodes("patroni")[0] }}
    - timeout: 60
    - require:
      - step: The virtual IP answers {{ nodes("haproxy")[-1] }}

Let other changes in again:
  step.runner:
    - failhard: True
    - name: fanatico.unlock
    - require:
      - step: Prove it end to end
