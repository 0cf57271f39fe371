# Started by salt/reactor/heal.sls with the facts of one event: pillar `event: {host, what, why}`.
# The runner guards, acts, verifies and writes down; what the plan promises for the host comes from the pillar.
{%- set event = pillar.event %}

Cure {{ event.what }} on {{ event.host }}:
  step.runner:
    - name: fanatico.heal
    - host: {{ event.host | json }}
    - what: {{ event.what | json }}
    - why: {{ event.why | json }}
    - roles: {{ salt["fanatico_plan.roles"](event.host) | json }}
    - settings: {{ pillar.get("heal", {}) | json }}
