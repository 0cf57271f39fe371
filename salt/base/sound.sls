{#- What _pillar/fanatico_sound.py found: nothing is done by a plan that is wrong or half written. -#}
include: []
{%- if pillar.get("unsound") %}
{%- set faults = pillar.unsound | join(" | ") %}
{%- set next = "Next, on the master: salt-run fanatico.validate" %}

The pillar is sound:
  test.fail_without_changes:
    - name: {{ grains.id }}
    - comment: {{ (grains.id ~ ": the pillar is not sound, nothing was changed: " ~ faults ~ " | " ~ next) | json }}
    - order: first
    - failhard: True
{%- endif %}
