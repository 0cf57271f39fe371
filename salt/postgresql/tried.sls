# Only the question whether PostgreSQL on this host could start with the pillar's parameters; where it is not installed yet, it
# cannot be asked, and patroni.configured asks again. For orch.patroni, before the leader changes them for all.
{%- from "patroni/map.jinja" import patroni with context %}
{%- from "postgresql/map.jinja" import postgresql with context %}

PostgreSQL would start with the parameters:
  fanatico_postgres.startable:
    - parameters: {{ patroni.dynamic.postgresql.parameters | json }}
    - bin_dir: /usr/lib/postgresql/{{ postgresql.version }}/bin
    - data_dir: {{ postgresql.data_dir }}
