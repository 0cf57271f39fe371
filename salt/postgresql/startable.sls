# Only the question whether PostgreSQL on this host could start with the pillar's parameters; where it is not installed yet, it
# cannot be asked, and patroni.configured asks again. For orch.patroni, before the leader changes them for all.
{%- set postgresql = salt["fanatico_postgres.wanted"]() %}

Check that PostgreSQL could start with the parameters:
  fanatico_postgres.startable:
    - parameters: {{ postgresql.parameters | json }}
    - bin_dir: {{ postgresql.bin_dir }}
    - data_dir: {{ postgresql.data_dir }}
