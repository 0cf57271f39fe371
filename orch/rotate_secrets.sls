# New values for all secrets, or for those that are named, on the running cluster. Sessions stay; who logs in during the
# few seconds between PostgreSQL's new passwords and everybody's knowing them is let in at the next try.
# Begun again after it broke off, it goes on with the values it had made.
#
#   salt-run state.orchestrate orch.rotate_secrets
#   salt-run state.orchestrate orch.rotate_secrets pillar='{"rotate": ["HAPROXY_STATS_PASSWORD"]}'
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

Every machine answers:
  step.runner:
    - failhard: True
    - name: fanatico.wait_minions
    - require:
      - step: Keep other changes away

New values are made:
  step.runner:
    - failhard: True
    - name: fanatico.secrets_rotate
    - acts: True
    - only: {{ pillar.get("rotate", []) | json }}
    - require:
      - step: Every machine answers

Every node knows the pillar as it is:
  step.function:
    - failhard: True
    - name: saltutil.refresh_pillar
    - tgt: {{ nodes() | json }}
    - tgt_type: list
    - kwarg: {wait: True}
    - timeout: 60
    - require:
      - step: New values are made

PostgreSQL has them:
  step.state:
    - failhard: True
    - tgt: {{ nodes("patroni") | json }}
    - tgt_type: list
    - sls: postgresql.roles
    - queue: True
    - pillar:
        postgresql:
          replace_passwords: true
    - timeout: 120
    - require:
      - step: Every node knows the pillar as it is

# Patroni before etcd: it has a token, and asks for the next one with the password that is true by then.
Patroni has them:
  step.state:
    - failhard: True
    - tgt: {{ nodes("patroni") | json }}
    - tgt_type: list
    - sls: roles.patroni
    - queue: True
    - timeout: 120
    - require:
      - step: PostgreSQL has them

# One node for all. The others' restart for another token key comes after it: Patroni knows by that to log in again.
etcd lets in by them:
  step.state:
    - failhard: True
    - tgt: {{ nodes("etcd")[0] }}
    - sls: etcd.users
    - queue: True
    - timeout: 120
    - require:
      - step: Patroni has them

etcd has them:
  step.state:
    - failhard: True
    - tgt: {{ nodes("etcd") | json }}
    - tgt_type: list
    - sls: roles.etcd
    - queue: True
    - timeout: 120
    - require:
      - step: etcd lets in by them

The balancers have them:
  step.state:
    - failhard: True
    - tgt: {{ nodes("haproxy") | json }}
    - tgt_type: list
    - sls: roles.haproxy
    - queue: True
    - timeout: 120
    - require:
      - step: etcd has them

Prove it end to end:
  step.function:
    - failhard: True
    - name: fanatico.proof
    - tgt: {{ nodes("patroni")[0] }}
    - timeout: 60
    - require:
      - step: The balancers have them

The old values are forgotten:
  step.runner:
    - failhard: True
    - name: fanatico.secrets_settle
    - acts: True
    - require:
      - step: Prove it end to end

Every node forgets them:
  step.function:
    - failhard: True
    - name: saltutil.refresh_pillar
    - tgt: {{ nodes() | json }}
    - tgt_type: list
    - kwarg: {wait: True}
    - timeout: 60
    - require:
      - step: The old values are forgotten

Let other changes in again:
  step.runner:
    - failhard: True
    - name: fanatico.unlock
    - require:
      - step: Every node forgets them
