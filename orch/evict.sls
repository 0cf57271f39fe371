# A host that is lost, perhaps to somebody who holds it now, is shut out for good: the network first, then the lead, then all
# that it knew. Begun again after it broke off, it does what is left, and once more what cannot be seen to have been done.
#
#   salt-run state.orchestrate orch.evict pillar='{"host": "db2"}'
{%- set timeouts = pillar.orch.timeouts %}
{%- set nodes = salt["fanatico_plan.nodes"] %}
{%- set scope = salt["saltutil.runner"]("fanatico.evict_scope", arg=[pillar.get("host", "")]) %}
{%- if scope is not mapping %}
Check whether the host can be evicted:
  step.runner:
    - failhard: True
    - name: fanatico.evict_refused
    - reason: {{ scope | string | json }}
{%- else %}
{%- set host = scope.host %}
{%- set before = {"name": "Block " ~ host ~ " in every firewall"} %}
{#- Nothing waits before the network is cut: whoever does not answer stops it only after all others have done that. #}
{{ salt["fanatico_orch.begin"]("evict", roles=[]) }}

"Reject the minion key of {{ host }}":
  step.runner:
    - failhard: True
    - name: fanatico.evict_key
    - acts: True
    - host: {{ host | json }}
    - require:
      - step: Lock the cluster

# All at once.
"{{ before.name }}":
  step.state:
    - failhard: True
    - tgt: {{ nodes() | json }}
    - tgt_type: list
    - sls: firewall
    - queue: True
    - timeout: {{ timeouts.firewall }}
    - require:
      - step: "Reject the minion key of {{ host }}"

{{ salt["fanatico_orch.refresh"]("Refresh the pillar of every host", after=before.name) }}

Sync the modules of every host:
  step.runner:
    - failhard: True
    - name: fanatico.sync_modules
    - timeout: {{ timeouts.modules }}
    - require:
      - step: Refresh the pillar of every host
{%- do before.update(name="Sync the modules of every host") %}
{%- if "etcd" in scope.roles or "patroni" in scope.roles %}

Wait for the quorum of etcd:
  step.function:
    - failhard: True
    - name: fanatico_etcd.wait_quorum
    - tgt: {{ nodes("etcd")[0] }}
    - timeout: {{ timeouts.ready }}
    - require:
      - step: "{{ before.name }}"

# A leader that is cut off cannot refuse: its key is taken away, and a standby leads.
"Remove {{ host }} from etcd and Patroni":
  step.runner:
    - failhard: True
    - name: fanatico.evict_forget
    - acts: True
    - host: {{ host | json }}
    - require:
      - step: Wait for the quorum of etcd
{%- do before.update(name="Remove " ~ host ~ " from etcd and Patroni") %}
{%- endif %}

"Deploy without {{ host }}":
  step.orchestration:
    - failhard: True
    - name: orch.deploy
    - require:
      - step: "{{ before.name }}"
{%- do before.update(name="Deploy without " ~ host) %}
{%- if scope.secrets %}
{#- New values that were made before it was shut out it may know. #}
{%- if scope.unsettled.secrets %}

Finish the interrupted rotation of secrets:
  step.orchestration:
    - failhard: True
    - name: orch.rotate_secrets
    - require:
      - step: "{{ before.name }}"
{%- do before.update(name="Finish the interrupted rotation of secrets") %}
{%- endif %}

"Replace every secret that {{ host }} knew":
  step.orchestration:
    - failhard: True
    - name: orch.rotate_secrets
    - pillar:
        rotate: {{ scope.secrets | json }}
    - require:
      - step: "{{ before.name }}"
{%- do before.update(name="Replace every secret that " ~ host ~ " knew") %}
{%- endif %}
{%- if scope.certificates %}
{#- As above: a successor may have signed for it. #}
{%- if scope.unsettled.authorities %}

Finish the interrupted rotation of certificates:
  step.orchestration:
    - failhard: True
    - name: orch.rotate_certs
    - require:
      - step: "{{ before.name }}"
{%- do before.update(name="Finish the interrupted rotation of certificates") %}
{%- endif %}

Replace every certificate and authority:
  step.orchestration:
    - failhard: True
    - name: orch.rotate_certs
    - require:
      - step: "{{ before.name }}"
{%- do before.update(name="Replace every certificate and authority") %}
{%- endif %}

"Prove that {{ host }} is evicted":
  step.runner:
    - failhard: True
    - name: fanatico.evicted
    - host: {{ host | json }}
    - require:
      - step: "{{ before.name }}"

{% set reason = "shut out, with " ~ (scope.secrets | length) ~ " secrets" ~ (" and all certificates" if scope.certificates else "") ~ " replaced" %}
{{ salt["fanatico_orch.end"](after="Prove that " ~ host ~ " is evicted", host=host, reason=reason) }}
{%- endif %}
