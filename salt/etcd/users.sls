include:
  - etcd.running

# Before Patroni starts: it cannot bear users coming into force under it.
Enable etcd authentication:
  fanatico_etcd.users_present:
    - name: {{ pillar.plan.name }}
    - keep: {{ pillar.etcd.users | json }}
    - require:
      - fanatico_etcd: Start etcd
