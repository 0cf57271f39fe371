# What every machine can do before any other is ready: the base, the firewall, the minion, the packages of its roles and
# their certificates.
{%- set components = {
  "etcd": ["etcd.certified"],
  "patroni": ["patroni.certified"],
  "haproxy": ["haproxy.certified", "keepalived.installed"],
  "rpc": ["rpc.installed"],
} %}
include:
  - base
  - firewall
  - minion
{%- for role in salt["fanatico_plan.roles"]() %}
{%-   if role == "master" %}
  - roles.master
{%-   endif %}
{%-   for component in components.get(role, []) %}
  - {{ component }}
{%-   endfor %}
{%- endfor %}
