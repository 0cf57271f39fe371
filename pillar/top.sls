# Who gets which settings: everybody the plan, each node the settings and the secrets of its own roles, nobody more.
# Decided from the minion id, which the master has authenticated, and from plan.sls; never from grains.
{%- import_yaml "plan.sls" as source %}
{%- set roles = source.plan.nodes.get(opts.id, {}).get("roles", []) %}
{%- set settings = {
      "master": ["master"],
      "etcd": ["etcd"],
      "patroni": ["patroni", "postgresql"],
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
{%- for role in roles %}
{%-   for sls in settings.get(role, []) %}
    - {{ sls }}
{%-   endfor %}
{%- endfor %}
    - site                        # this installation's overrides, merged over all of the above

{%- for role in roles if role in ("etcd", "patroni", "haproxy") %}
{%-   if loop.first %}
  {{ opts.id | yaml_dquote }}:
    - ignore_missing: True        # before `salt-run fanatico.secrets_init`; `salt-run fanatico.validate` names them
{%-   endif %}
    - secrets.{{ role }}
{%- endfor %}
