include:
  - etcd.running

{%- from "etcd/map.jinja" import etcd with context %}

# Before Patroni starts: it cannot bear users coming into force under it.
etcd lets in its users alone:
  fanatico_etcd.users_present:
    - name: {{ pillar.plan.name }}
    - keep: {{ etcd.users | json }}
    - require:
      - fanatico_etcd: etcd runs
