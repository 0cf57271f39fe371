# From connected minions to a working infrastructure, and the same again on a running one: every step looks at what is
# there and changes only what differs. Order matters: etcd keeps Patroni's state, Patroni tells HAProxy who leads.
#
#   salt-run state.orchestrate orch.deploy          (in another terminal: salt-run fanatico.watch)
{%- set nodes = salt["fanatico_plan.nodes"] %}

Check the pillar:
  salt.runner:
    - failhard: True
    - name: fanatico.validate

Keep other changes away:
  salt.runner:
    - failhard: True
    - name: fanatico.lock
    - require:
      - salt: Check the pillar

# A host that is new in the plan reaches the master only then.
The master lets every machine in:
  salt.runner:
    - failhard: True
    - name: fanatico.admit
    - require:
      - salt: Keep other changes away

Every machine answers:
  salt.runner:
    - failhard: True
    - name: fanatico.wait_minions
    - require:
      - salt: The master lets every machine in

# A state run compiles a pillar of its own; everything else, the master's signing of certificates, health checks, beacons and
# cures among it, goes by the one that a minion has had since it started.
Every node knows the pillar as it is:
  salt.function:
    - failhard: True
    - name: saltutil.refresh_pillar
    - tgt: "*"
    - kwarg: {wait: True}
    - timeout: 60
    - require:
      - salt: Every machine answers

# All machines at once: installing packages is most of the time of a first deploy. Our modules are handed out in the same
# job, the four kinds of them that we have: saltutil.sync_all would ask the master for eighteen.
Prepare every machine:
  salt.function:
    - failhard: True
    - name: state.apply
    - tgt: "*"
    - arg: [roles.prepared]
    - kwarg:
        queue: True
        sync_mods: [utils, modules, states, beacons]
    - timeout: 300
    - require:
      - salt: Every node knows the pillar as it is

Bring up etcd:
  salt.runner:
    - failhard: True
    - name: state.orchestrate
    - mods: orch.etcd
    - require:
      - salt: Prepare every machine

# The RPC nodes need nobody, so they start beside etcd.
Bring up the RPC nodes:
  salt.state:
    - failhard: True
    - tgt: {{ nodes("rpc") | json }}
    - tgt_type: list
    - sls: roles.rpc
    - queue: True
    - parallel: True
    - timeout: 60
    - require:
      - salt: Prepare every machine

Bring up PostgreSQL:
  salt.runner:
    - failhard: True
    - name: state.orchestrate
    - mods: orch.patroni
    - require:
      - salt: Bring up etcd

# One after the other: what restarts Keepalived or HAProxy on one finds the virtual address on the other.
{%- for node in nodes("haproxy") %}

Bring up {{ node }}:
  salt.state:
    - failhard: True
    - tgt: {{ node }}
    - sls: roles.haproxy
    - queue: True
    - timeout: 60
    - require:
{%- if loop.first %}
      - salt: Bring up PostgreSQL
      - salt: Bring up the RPC nodes
{%- else %}
      - salt: The virtual address answers {{ loop.previtem }}
{%- endif %}

The virtual address answers {{ node }}:
  salt.function:
    - failhard: True
    - name: fanatico_keepalived.wait_address
    - tgt: {{ node }}
    - timeout: 60
    - require:
      - salt: Bring up {{ node }}
{%- endfor %}

Prove it end to end:
  salt.function:
    - failhard: True
    - name: fanatico.proof
    - tgt: {{ nodes("patroni")[0] }}
    - timeout: 60
    - require:
      - salt: The virtual address answers {{ nodes("haproxy")[-1] }}

Let other changes in again:
  salt.runner:
    - failhard: True
    - name: fanatico.unlock
    - require:
      - salt: Prove it end to end
