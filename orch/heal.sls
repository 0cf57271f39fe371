# Started by fanatico.look and fanatico.reconcile with a fault that a host has reported: pillar `event: {host, what, why}`.
# The runner guards, acts, verifies and logs. The host's roles come from the pillar, never from the event.
# Text from a minion appears here only through `| json`, as a value. Otherwise it would be code.
{%- set event = pillar.event %}
Cure the fault:
  step.runner:
    - name: fanatico.heal
    - host: {{ event.host | json }}
    - what: {{ event.what | json }}
    - why: {{ event.why | json }}
    - roles: {{ salt["fanatico_plan.roles"](event.host) | json }}
    - settings: {{ pillar.heal | json }}
