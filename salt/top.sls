# Every host: the common components, and the roles that the plan gives it. Read directly from the pillar: on the very first run
# our own modules are not synced yet. (They are when the states below are rendered.)
base:
  "*":
    - roles.every
{%- for role in pillar.plan.nodes.get(grains.id, {}).get("roles", []) %}
    - roles.{{ role }}
{%- endfor %}
