{#- Stops the highstate if the plan is wrong or incomplete (_pillar/fanatico_sound.py), or if the pillar requests a change that a
    running cluster cannot make in place (_utils/fanatico_identity.py). -#}
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
