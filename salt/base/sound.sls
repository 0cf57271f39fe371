{#- What _pillar/fanatico_sound.py found: nothing is done by a plan that is wrong or half written. -#}
include: []
{%- if pillar.get("unsound") %}

The pillar is sound:
  test.fail_without_changes:
    - name: {{ grains.id }}
    - comment: {{ (grains.id ~ ": the pillar is not sound, nothing was changed: " ~ pillar.unsound | join(" | ") ~ " | Next, on the master: salt-run fanatico.validate") | json }}
    - order: first
    - failhard: True
{%- endif %}
