include:
  - patroni.running

{%- from "patroni/map.jinja" import patroni with context %}

The members of the cluster share these settings:
  fanatico_patroni.settings_present:
    - name: {{ pillar.plan.name }}
    - settings: {{ patroni.dynamic | json }}
    - require:
      - service: Patroni runs
      - fanatico_postgres: PostgreSQL starts with its parameters here

What patroni runs with is known:
  fanatico_identity.kept:
    - name: patroni
    - require:
      - fanatico_patroni: The members of the cluster share these settings
