# Something is wrong with a host (_beacons/fanatico.py): look at what it has reported, and start orch.heal with that.
# Of the event itself only the host counts, and only if the plan has it: any minion can fire any event.
{%- if salt["fanatico_event.counts"](data.get("id")) %}
Check the reported fault:
  runner.fanatico.look:
    - args:
        - host: {{ data["id"] | json }}
{%- endif %}
