include:
  - etcd.running

# Before Patroni starts: Patroni does not survive that authentication is enabled while it runs.
Enable etcd authentication:
  fanatico_etcd.users_present:
    - name: {{ pillar.plan.name }}
    - keep: {{ pillar.etcd.users | json }}
    - require:
      - fanatico_etcd: Start etcd
