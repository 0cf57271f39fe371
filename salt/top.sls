# Every machine: the components that all have, and the roles that the plan gives it. Asked of the pillar itself: on the very
# first run our own modules are not here yet. (They are when the states below are rendered.)
base:
  "*":
    - roles.every
{%- for role in pillar.plan.nodes.get(grains.id, {}).get("roles", []) %}
    - roles.{{ role }}
{%- endfor %}
