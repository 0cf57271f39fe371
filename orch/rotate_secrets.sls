# Replaces all secrets, or only those that are named, on the running cluster. Sessions stay open. For a few seconds after
# PostgreSQL has the new passwords, a login with the old password fails; the next attempt with the new one succeeds.
# After an interruption, run it again: it resumes with the values that it has generated.
#
#   salt-run state.orchestrate orch.rotate_secrets
#   salt-run state.orchestrate orch.rotate_secrets pillar='{"rotate": ["HAPROXY_STATS_PASSWORD"]}'
{%- set timeouts = pillar.orch.timeouts %}
{%- set nodes = salt["fanatico_plan.nodes"] %}
{{ salt["fanatico_orch.begin"]("rotate_secrets") }}

Generate the new secrets:
  step.runner:
    - failhard: True
    - name: fanatico.secrets_rotate
    - acts: True
    - only: {{ pillar.get("rotate", []) | json }}
    - require:
      - step: Refresh the pillar of every host

{{ salt["fanatico_orch.refresh"]("Distribute the new secrets to every host", after="Generate the new secrets") }}

Set the new passwords in PostgreSQL:
  step.state:
    - failhard: True
    - tgt: {{ nodes("patroni") | json }}
    - tgt_type: list
    - sls: postgresql.roles
    - queue: True
    - pillar:
        postgresql:
          replace_passwords: true
    - timeout: {{ timeouts.rotate }}
    - require:
      - step: Distribute the new secrets to every host

# Patroni before etcd: Patroni has a valid token and requests the next one with the new password.
Configure Patroni with the new secrets:
  step.state:
    - failhard: True
    - tgt: {{ nodes("patroni") | json }}
    - tgt_type: list
    - sls: roles.patroni
    - queue: True
    - timeout: {{ timeouts.rotate }}
    - require:
      - step: Set the new passwords in PostgreSQL

# One node changes them for all. The other nodes restart afterwards for the new token key, which makes Patroni log in again.
Set the new passwords in etcd:
  step.state:
    - failhard: True
    - tgt: {{ nodes("etcd")[0] }}
    - sls: etcd.users
    - queue: True
    - timeout: {{ timeouts.rotate }}
    - require:
      - step: Configure Patroni with the new secrets

Configure etcd with the new secrets:
  step.state:
    - failhard: True
    - tgt: {{ nodes("etcd") | json }}
    - tgt_type: list
    - sls: roles.etcd
    - queue: True
    - timeout: {{ timeouts.rotate }}
    - require:
      - step: Set the new passwords in etcd

Configure the balancers with the new secrets:
  step.state:
    - failhard: True
    - tgt: {{ nodes("haproxy") | json }}
    - tgt_type: list
    - sls: roles.haproxy
    - queue: True
    - timeout: {{ timeouts.rotate }}
    - require:
      - step: Configure etcd with the new secrets

{{ salt["fanatico_orch.prove"](after="Configure the balancers with the new secrets") }}

Delete the old secrets:
  step.runner:
    - failhard: True
    - name: fanatico.secrets_finish_rotation
    - acts: True
    - require:
      - step: Prove the service end to end

{{ salt["fanatico_orch.refresh"]("Remove the old secrets from every host", after="Delete the old secrets") }}
{{ salt["fanatico_orch.end"](after="Remove the old secrets from every host") }}
