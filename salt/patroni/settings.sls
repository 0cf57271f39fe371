include:
  - patroni.running

The members of the cluster share these settings:
  fanatico_patroni.settings_present:
    - name: {{ pillar.plan.name }}
    - settings: {{ salt["fanatico_patroni.wanted_config"]() | json }}
    - require:
      - service: Patroni runs
      - fanatico_postgres: PostgreSQL starts with its parameters here

What patroni runs with is known:
  fanatico_identity.kept:
    - name: patroni
    - require:
      - fanatico_patroni: The members of the cluster share these settings
