# A minion came with another key than the accepted one: its host may be one that was made anew (fanatico.renew_key).
{%- if data.get("act") == "denied" and salt["fanatico_event.counts"](data.get("id"), "denied", "key", 60) %}
Heal:
  runner.state.orchestrate:
    - args:
        - mods: orch.heal
        - pillar:
            event: {{ {"host": data["id"], "what": "key-denied", "why": "its minion has another key than the accepted one"} | json }}
{%- endif %}
