include:
  - patroni.running

Update the cluster settings of Patroni in etcd:
  fanatico_patroni.settings_present:
    - name: {{ pillar.plan.name }}
    - settings: {{ salt["fanatico_patroni.wanted_config"]() | json }}
    - require:
      - service: Start Patroni
      - fanatico_postgres: Check that PostgreSQL can start with its parameters

Record the identity of Patroni:
  fanatico_identity.kept:
    - name: patroni
    - require:
      - fanatico_patroni: Update the cluster settings of Patroni in etcd
