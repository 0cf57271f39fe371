# A minion has started: its host may have been reinstalled and not been deployed yet (fanatico.started).
{%- if salt["fanatico_event.counts"](data.get("id"), "start") %}
Check for a reinstalled host:
  runner.fanatico.started:
    - args:
        - host: {{ data["id"] | json }}
{%- endif %}
