# A host that is lost, perhaps to somebody who holds it now, is shut out for good: the network first, then the lead, then all
# that it knew. Begun again after it broke off, it does what is left, and once more what cannot be seen to have been done.
#
#   salt-run state.orchestrate orch.evict pillar='{"host": "db2"}'
{%- set nodes = salt["fanatico_plan.nodes"] %}
{%- set scope = salt["saltutil.runner"]("fanatico.evict_scope", arg=[pillar.get("host", "")]) %}
{%- if scope is not mapping %}
It can be shut out:
  step.runner:
    - failhard: True
    - name: fanatico.evict_refused
    - reason: {{ scope | string | json }}
{%- else %}
{%- set host = scope.host %}
{%- set before = {"name": host ~ ": no packet of it is let in"} %}
Check the pillar:
  step.runner:
    - failhard: True
    - name: fanatico.validate

Keep other changes away:
  step.runner:
    - failhard: True
    - name: fanatico.lock
    - purpose: evict
    - require:
      - step: Check the pillar

"{{ host }}: its minion key is refused":
  step.runner:
    - failhard: True
    - name: fanatico.evict_key
    - acts: True
    - host: {{ host | json }}
    - require:
      - step: Keep other changes away

# All at once, and whoever does not answer stops it only after all others have done it.
"{{ before.name }}":
  step.state:
    - failhard: True
    - tgt: {{ nodes() | json }}
    - tgt_type: list
    - sls: firewall
    - queue: True
    - timeout: 60
    - require:
      - step: "{{ host }}: its minion key is refused"

# What a minion does beside state runs goes by the pillar that it has had since it started.
Every node knows the pillar as it is:
  step.function:
    - failhard: True
    - name: saltutil.refresh_pillar
    - tgt: {{ nodes() | json }}
    - tgt_type: list
    - kwarg: {wait: True}
    - timeout: 60
    - require:
      - step: "{{ before.name }}"

Every node has our modules:
  step.runner:
    - failhard: True
    - name: fanatico.sync_modules
    - require:
      - step: Every node knows the pillar as it is
{%- do before.update(name="Every node has our modules") %}
{%- if "etcd" in scope.roles or "patroni" in scope.roles %}

etcd has a quorum without it:
  step.function:
    - failhard: True
    - name: fanatico_etcd.wait_quorum
    - tgt: {{ nodes("etcd")[0] }}
    - timeout: 60
    - require:
      - step: "{{ before.name }}"

# A leader that is cut off cannot refuse: its key is taken away, and a standby leads.
etcd and Patroni forget it:
  step.runner:
    - failhard: True
    - name: fanatico.evict_forget
    - acts: True
    - host: {{ host | json }}
    - require:
      - step: etcd has a quorum without it
{%- do before.update(name="etcd and Patroni forget it") %}
{%- endif %}

Every machine goes by the plan without it:
  step.orchestration:
    - failhard: True
    - name: orch.deploy
    - require:
      - step: "{{ before.name }}"
{%- do before.update(name="Every machine goes by the plan without it") %}
{%- if scope.secrets %}
{#- New values that were made before it was shut out it may know. #}
{%- if scope.unsettled.secrets %}

A rotation of secrets that broke off comes to its end:
  step.orchestration:
    - failhard: True
    - name: orch.rotate_secrets
    - require:
      - step: "{{ before.name }}"
{%- do before.update(name="A rotation of secrets that broke off comes to its end") %}
{%- endif %}

Every secret it knew has another value:
  step.orchestration:
    - failhard: True
    - name: orch.rotate_secrets
    - pillar:
        rotate: {{ scope.secrets | json }}
    - require:
      - step: "{{ before.name }}"
{%- do before.update(name="Every secret it knew has another value") %}
{%- endif %}
{%- if scope.certificates %}
{#- As above: a successor may have signed for it. #}
{%- if scope.unsettled.authorities %}

A rotation of certificates that broke off comes to its end:
  step.orchestration:
    - failhard: True
    - name: orch.rotate_certs
    - require:
      - step: "{{ before.name }}"
{%- do before.update(name="A rotation of certificates that broke off comes to its end") %}
{%- endif %}

Every certificate it had is refused:
  step.orchestration:
    - failhard: True
    - name: orch.rotate_certs
    - require:
      - step: "{{ before.name }}"
{%- do before.update(name="Every certificate it had is refused") %}
{%- endif %}

"{{ host }}: it is shut out":
  step.runner:
    - failhard: True
    - name: fanatico.evicted
    - host: {{ host | json }}
    - require:
      - step: "{{ before.name }}"

Let other changes in again:
  step.runner:
    - failhard: True
    - name: fanatico.unlock
    - host: {{ host | json }}
    - reason: {{ ("shut out, with " ~ (scope.secrets | length) ~ " secrets" ~ (" and all certificates" if scope.certificates else "") ~ " replaced") | json }}
    - require:
      - step: "{{ host }}: it is shut out"
{%- endif %}
