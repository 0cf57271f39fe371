# Who gets which settings: everybody the plan, each node the settings and the secrets of its own roles, nobody more.
# Decided from the minion id, which the master has authenticated, and from plan.sls; never from grains.
{%- import_yaml "plan.sls" as source %}
{%- set settings = {
      "master": ["master"],
      "etcd": ["etcd"],
      "patroni": ["patroni", "postgresql"],
      "haproxy": ["haproxy", "keepalived", "rpc"],
      "rpc": ["rpc"],
    } %}
{%- set with_secrets = ["etcd", "patroni", "haproxy"] %}
{%- set roles = source.plan.nodes.get(opts.id, {}).get("roles", []) %}
base:
  "*":
    - ignore_missing: True        # secrets that do not exist yet: `salt-run fanatico.validate` names them
    - plan
    - base
    - minion
    - heal
{%- for sls in roles | map("extract", settings) | sum(start=[]) | unique %}
    - {{ sls }}
{%- endfor %}
{%- for role in roles if role in with_secrets %}
    - secrets.{{ role }}
{%- endfor %}
    - site                        # this installation's overrides, merged last
