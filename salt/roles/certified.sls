# The certificates of this node's roles, taken up by the daemons that read them. Every night the minion does it by itself.
include:
{%- for role in salt["fanatico_plan.roles"]() if role in ("etcd", "patroni", "haproxy") %}
  - {{ role }}.certified
{%- endfor %}
