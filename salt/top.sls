# Every machine: the base, its firewall, its minion, and the roles that the plan gives it. Asked of the pillar itself: on
# the very first run our own modules are not here yet.
base:
  "*":
    - base
    - firewall
    - minion
{%- for role in pillar.plan.nodes.get(grains.id, {}).get("roles", []) %}
    - roles.{{ role }}
{%- endfor %}
