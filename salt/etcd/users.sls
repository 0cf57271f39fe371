include:
  - etcd.running

# Before Patroni starts: it cannot bear users coming into force under it.
etcd lets in its users alone:
  fanatico_etcd.users_present:
    - name: {{ pillar.plan.name }}
    - keep: {{ pillar.etcd.users | json }}
    - require:
      - fanatico_etcd: etcd runs
