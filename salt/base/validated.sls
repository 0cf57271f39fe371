{#- Nothing is done by a plan that is wrong or half written (_pillar/fanatico_sound.py), nor by one that wants what a running
    cluster cannot change in place (_utils/fanatico_identity.py). -#}
include: []
{%- set faults = pillar.get("unsound") or salt["fanatico_identity.changed"]() %}
{%- if faults %}
{%- set next = "Next, on the master: salt-run fanatico.validate" %}

Validate the pillar:
  test.fail_without_changes:
    - name: {{ grains.id }}
    - comment: {{ (grains.id ~ ": the pillar is not sound, nothing was changed: " ~ (faults | join(" | ")) ~ " | " ~ next) | json }}
    - order: first
    - failhard: True
{%- endif %}
