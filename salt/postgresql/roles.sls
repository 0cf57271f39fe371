{%- set postgresql = pillar.postgresql %}

# The first three are Patroni's: it makes them when the cluster is founded, and every member has their passwords.
# Another password than the pillar's is never replaced in passing: somebody uses it.
# Nothing is required of salt/patroni: new passwords have to reach the cluster before they reach patroni.yml.
The role postgres is right:
  fanatico_postgres.role_present:
    - name: postgres
    - secret: POSTGRES_SUPERUSER_PASSWORD
    - attributes: {superuser: true, createrole: true, createdb: true, replication: true}
    - replace_password: {{ postgresql.replace_passwords }}

The role replicator is right:
  fanatico_postgres.role_present:
    - name: replicator
    - secret: POSTGRES_REPLICATOR_PASSWORD
    - attributes: {replication: true}
    - replace_password: {{ postgresql.replace_passwords }}
    - require:
      - fanatico_postgres: The role postgres is right

The role rewind is right:
  fanatico_postgres.role_present:
    - name: rewind
    - secret: POSTGRES_REWIND_PASSWORD
    # What pg_rewind reads the other server with.
    - functions:
      - pg_ls_dir(text, boolean, boolean)
      - pg_stat_file(text, boolean)
      - pg_read_binary_file(text)
      - pg_read_binary_file(text, bigint, bigint, boolean)
{%- if postgresql.version >= 16 %}
    - member_of: [pg_use_reserved_connections]
{%- endif %}
    - replace_password: {{ postgresql.replace_passwords }}
    - require:
      - fanatico_postgres: The role replicator is right

# The cluster's own: proofs, canaries and drills write as this role into a database that is theirs alone.
The role fanatico_proof is right:
  fanatico_postgres.role_present:
    - name: fanatico_proof
    - secret: POSTGRES_PROOF_PASSWORD
{%- if postgresql.version >= 16 %}
    - member_of: [pg_use_reserved_connections]
{%- endif %}
    - replace_password: {{ postgresql.replace_passwords }}
    - require:
      - fanatico_postgres: The role rewind is right

The database fanatico_proof is there:
  fanatico_postgres.database_present:
    - name: fanatico_proof
    - owner: fanatico_proof
    - require:
      - fanatico_postgres: The role fanatico_proof is right

The role admin is right:
  fanatico_postgres.role_present:
    - name: admin
    - secret: POSTGRES_ADMIN_PASSWORD
    - attributes: {createrole: true, createdb: true}
    - member_of: [pg_monitor, pg_signal_backend{{ ", pg_use_reserved_connections" if postgresql.version >= 16 }}]
    - replace_password: {{ postgresql.replace_passwords }}
    - require:
      - fanatico_postgres: The role rewind is right

The role fanatico is right:
  fanatico_postgres.role_present:
    - name: fanatico
    - secret: POSTGRES_FANATICO_PASSWORD
    - connections: {{ salt["fanatico_postgres.application_connections"]() }}
    - settings: {{ postgresql.application.settings | json }}
    - replace_password: {{ postgresql.replace_passwords }}
    - require:
      - fanatico_postgres: The role admin is right

The database {{ postgresql.database }} is there:
  fanatico_postgres.database_present:
    - name: {{ postgresql.database }}
    - owner: fanatico
    - require:
      - fanatico_postgres: The role fanatico is right

# What everybody may connect to by default, and has no business in.
{%- for database, roles in {"postgres": ["replicator", "rewind", "admin"], "template1": ["admin"], "fanatico_proof": []}.items() %}

The database {{ database }} is closed to others:
  fanatico_postgres.database_closed:
    - name: {{ database }}
    - roles: {{ roles | json }}
    - require:
      - fanatico_postgres: The role fanatico is right
      - fanatico_postgres: The database fanatico_proof is there
{%- endfor %}
