# A host has reported a fault (_beacons/fanatico.py): read its faults, and start orch.heal for them.
# Only the host ID of the event is used, and only if the plan contains it: any minion can fire any event.
{%- if salt["fanatico_event.counts"](data.get("id")) %}
Check the reported fault:
  runner.fanatico.look:
    - args:
        - host: {{ data["id"] | json }}
{%- endif %}
