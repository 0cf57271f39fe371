# Only checks that PostgreSQL on this host could start with the pillar's parameters. If it is not installed yet, the check is
# skipped, and patroni.configured repeats it. For orch.patroni, before the leader distributes the parameters.
{%- set postgresql = salt["fanatico_postgres.wanted"]() %}

Check that PostgreSQL could start with the parameters:
  fanatico_postgres.startable:
    - parameters: {{ postgresql.parameters | json }}
    - bin_dir: {{ postgresql.bin_dir }}
    - data_dir: {{ postgresql.data_dir }}
