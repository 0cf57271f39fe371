# Something is wrong somewhere (_beacons/fanatico.py): hand the facts to orch.heal, which decides.
{%- if salt["fanatico_event.counts"](data.get("id"), data.get("what")) %}
Heal:
  runner.state.orchestrate:
    - args:
        - mods: orch.heal
        - pillar:
            event: {{ {"host": data["id"], "what": data["what"], "why": data.get("why", "") | string} | json }}
{%- endif %}
