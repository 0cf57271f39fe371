# What every machine can do before any other is ready: the base, the firewall, the minion and the packages of its roles.
{%- set components = {"etcd": ["etcd"], "patroni": ["patroni"], "haproxy": ["haproxy", "keepalived"], "rpc": ["rpc"]} %}
include:
  - base
  - firewall
  - minion
{%- for role in salt["fanatico_plan.roles"]() %}
{%-   if role == "master" %}
  - roles.master
{%-   endif %}
{%-   for component in components.get(role, []) %}
  - {{ component }}.installed
{%-   endfor %}
{%- endfor %}
