# Which node gets which settings: every node the plan, and each node the settings and secrets of its own roles only.
# Decided by the minion ID, which the master has authenticated, and by plan.sls; never by grains.
{%- import_yaml "plan.sls" as source %}
{%- set roles = source.plan.nodes.get(opts.id, {}).get("roles", []) %}
{%- set settings = {
      "master": ["master", "backup"],
      "etcd": ["etcd"],
      "patroni": ["patroni", "postgresql", "backup"],
      "backup": ["backup", "postgresql"],
      "haproxy": ["haproxy", "keepalived", "rpc", "cloudflare"],
      "rpc": ["rpc"],
    } %}
base:
  "*":
    - plan
    - base
    - firewall
    - pki
    - minion
    - heal
    - orch
    - node_exporter
{%- for role in roles %}
{%-   for sls in settings.get(role, []) %}
    - {{ sls }}
{%-   endfor %}
{%- endfor %}
    - site                        # overrides of this installation, merged over all of the above

{%- for role in roles if role in ("master", "etcd", "patroni", "backup", "haproxy") %}
{%-   if loop.first %}
  {{ opts.id | yaml_dquote }}:
    - ignore_missing: True        # until `salt-run fanatico.secrets_init` has run
{%-   endif %}
    - secrets.{{ role }}
{%- endfor %}
