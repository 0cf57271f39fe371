{%- set postgresql = pillar.postgresql %}

# The first three are Patroni's: it makes them when the cluster is founded, and every member has their passwords.
# Another password than the pillar's is never replaced in passing: somebody uses it.
# Nothing is required of salt/patroni: new passwords have to reach the cluster before they reach patroni.yml.
Configure role postgres:
  fanatico_postgres.role_present:
    - name: postgres
    - secret: POSTGRES_SUPERUSER_PASSWORD
    - attributes: {superuser: true, createrole: true, createdb: true, replication: true}
    - replace_password: {{ postgresql.replace_passwords }}

Configure role replicator:
  fanatico_postgres.role_present:
    - name: replicator
    - secret: POSTGRES_REPLICATOR_PASSWORD
    - attributes: {replication: true}
    - replace_password: {{ postgresql.replace_passwords }}
    - require:
      - fanatico_postgres: Configure role postgres

Configure role rewind:
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
      - fanatico_postgres: Configure role replicator

# The cluster's own: proofs, canaries and drills write as this role into a database that is theirs alone.
Configure role fanatico_proof:
  fanatico_postgres.role_present:
    - name: fanatico_proof
    - secret: POSTGRES_PROOF_PASSWORD
{%- if postgresql.version >= 16 %}
    - member_of: [pg_use_reserved_connections]
{%- endif %}
    - replace_password: {{ postgresql.replace_passwords }}
    - require:
      - fanatico_postgres: Configure role rewind

Create database fanatico_proof:
  fanatico_postgres.database_present:
    - name: fanatico_proof
    - owner: fanatico_proof
    - require:
      - fanatico_postgres: Configure role fanatico_proof

Configure role admin:
  fanatico_postgres.role_present:
    - name: admin
    - secret: POSTGRES_ADMIN_PASSWORD
    - attributes: {createrole: true, createdb: true}
    - member_of: [pg_monitor, pg_signal_backend{{ ", pg_use_reserved_connections" if postgresql.version >= 16 }}]
    - replace_password: {{ postgresql.replace_passwords }}
    - require:
      - fanatico_postgres: Configure role rewind

Configure role fanatico:
  fanatico_postgres.role_present:
    - name: fanatico
    - secret: POSTGRES_FANATICO_PASSWORD
    - connections: {{ salt["fanatico_postgres.application_connections"]() }}
    - settings: {{ postgresql.application.settings | json }}
    - replace_password: {{ postgresql.replace_passwords }}
    - require:
      - fanatico_postgres: Configure role admin

Create database {{ postgresql.database }}:
  fanatico_postgres.database_present:
    - name: {{ postgresql.database }}
    - owner: fanatico
    - require:
      - fanatico_postgres: Configure role fanatico

# What everybody may connect to by default, and has no business in.
{%- for database, roles in {"postgres": ["replicator", "rewind", "admin"], "template1": ["admin"], "fanatico_proof": []}.items() %}

Restrict connections to database {{ database }}:
  fanatico_postgres.database_closed:
    - name: {{ database }}
    - roles: {{ roles | json }}
    - require:
      - fanatico_postgres: Configure role fanatico
      - fanatico_postgres: Create database fanatico_proof
{%- endfor %}
