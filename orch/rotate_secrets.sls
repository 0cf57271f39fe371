# New values for all secrets, or for those that are named, on the running cluster. Sessions stay; who logs in during the
# few seconds between PostgreSQL's new passwords and everybody's knowing them is let in at the next try.
# Begun again after it broke off, it goes on with the values it had made.
#
#   salt-run state.orchestrate orch.rotate_secrets
#   salt-run state.orchestrate orch.rotate_secrets pillar='{"rotate": ["HAPROXY_STATS_PASSWORD"]}'
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

Every machine answers:
  salt.runner:
    - failhard: True
    - name: fanatico.wait_minions
    - require:
      - salt: Keep other changes away

New values are made:
  salt.runner:
    - failhard: True
    - name: fanatico.secrets_rotate
    - only: {{ pillar.get("rotate", []) | json }}
    - require:
      - salt: Every machine answers

Every node knows the pillar as it is:
  salt.function:
    - failhard: True
    - name: saltutil.refresh_pillar
    - tgt: "*"
    - kwarg: {wait: True}
    - timeout: 60
    - require:
      - salt: New values are made

PostgreSQL has them:
  salt.state:
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
      - salt: Every node knows the pillar as it is

# Patroni before etcd: it has a token, and asks for the next one with the password that is true by then.
Patroni has them:
  salt.state:
    - failhard: True
    - tgt: {{ nodes("patroni") | json }}
    - tgt_type: list
    - sls: roles.patroni
    - queue: True
    - timeout: 120
    - require:
      - salt: PostgreSQL has them

# One node for all. The others' restart for another token key comes after it: Patroni knows by that to log in again.
etcd lets in by them:
  salt.state:
    - failhard: True
    - tgt: {{ nodes("etcd")[0] }}
    - sls: etcd.users
    - queue: True
    - timeout: 120
    - require:
      - salt: Patroni has them

etcd has them:
  salt.state:
    - failhard: True
    - tgt: {{ nodes("etcd") | json }}
    - tgt_type: list
    - sls: roles.etcd
    - queue: True
    - timeout: 120
    - require:
      - salt: etcd lets in by them

The balancers have them:
  salt.state:
    - failhard: True
    - tgt: {{ nodes("haproxy") | json }}
    - tgt_type: list
    - sls: roles.haproxy
    - queue: True
    - timeout: 120
    - require:
      - salt: etcd has them

Prove it end to end:
  salt.function:
    - failhard: True
    - name: fanatico.proof
    - tgt: {{ nodes("patroni")[0] }}
    - timeout: 60
    - require:
      - salt: The balancers have them

The old values are forgotten:
  salt.runner:
    - failhard: True
    - name: fanatico.secrets_settle
    - require:
      - salt: Prove it end to end

Every node forgets them:
  salt.function:
    - failhard: True
    - name: saltutil.refresh_pillar
    - tgt: "*"
    - kwarg: {wait: True}
    - timeout: 60
    - require:
      - salt: The old values are forgotten

Let other changes in again:
  salt.runner:
    - failhard: True
    - name: fanatico.unlock
    - require:
      - salt: Every node forgets them
