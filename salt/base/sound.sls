{#- What _pillar/fanatico_sound.py found: nothing is done by a plan that is wrong or half written. -#}
include: []
{%- set unsound = pillar.get("unsound", []) %}
{%- if unsound %}
{%- set said = [grains.id ~ ": the pillar is not sound, nothing was changed:"] + unsound + ["Next, on the master: salt-run fanatico.validate"] %}

The pillar is sound:
  test.fail_without_changes:
    - name: {{ grains.id }}
    - comment: {{ said | join(" | ") | replace("changed: | ", "changed: ") | json }}
    - order: first
    - failhard: True
{%- endif %}
