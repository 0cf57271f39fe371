# A minion has started: its host may be one that was reinstalled and that nobody has built yet (fanatico.started).
{%- if salt["fanatico_event.counts"](data.get("id"), "start") %}
Check for a reinstalled host:
  runner.fanatico.started:
    - args:
        - host: {{ data["id"] | json }}
{%- endif %}
