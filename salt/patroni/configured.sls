include:
  - patroni.certified
  - patroni.watchdog

{%- set postgresql = salt["fanatico_postgres.wanted"]() %}

# Nothing is replaced where the running cluster would not take this node with the passwords in its pillar.
Check that the cluster accepts this node:
  fanatico_patroni.accepted:
    - name: {{ pillar.plan.name }}
    - data_dir: {{ postgresql.data_dir }}
    - bin_dir: {{ postgresql.bin_dir }}
    - require:
      - fanatico_pki: Issue certificates for Patroni and PostgreSQL

# Whoever founds the cluster writes them into etcd, and a member that is restarted has to start with them.
Check that PostgreSQL can start with its parameters:
  fanatico_postgres.startable:
    - parameters: {{ postgresql.parameters | json }}
    - bin_dir: {{ postgresql.bin_dir }}
    - data_dir: {{ postgresql.data_dir }}
    - require:
      - pkg: Install PostgreSQL and Patroni

Configure Patroni:
  file.managed:
    - name: /etc/patroni/patroni.yml
    - source: salt://patroni/files/patroni.yml.jinja
    - template: jinja
    - user: postgres
    - group: postgres
    - mode: "0640"
    - show_changes: False
    - check_cmd: /usr/local/lib/fanatico/check-patroni
    - require:
      - file: Install the check of patroni.yml
      - fanatico_patroni: Check that the cluster accepts this node
      - sls: patroni.watchdog
      - fanatico_postgres: Check that PostgreSQL can start with its parameters
