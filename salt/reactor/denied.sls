# A minion came with another key than the accepted one: its host may be one that was reinstalled (fanatico.renew_key).
{%- if data.get("act") == "denied" and salt["fanatico_event.counts"](data.get("id"), "key", 60, 1) %}
Check whether the minion key may be renewed:
  runner.fanatico.denied:
    - args:
        - host: {{ data["id"] | json }}
{%- endif %}
