include:
  - base.installed

{%- set postgresql = pillar.postgresql %}
{%- set patroni = pillar.patroni %}

Prevent Debian from creating a PostgreSQL cluster:
  file.managed:
    - name: /etc/postgresql-common/createcluster.conf
    - makedirs: True
    - contents: |
        # Managed by Salt (salt/postgresql): Patroni makes the cluster.
        create_main_cluster = false

# In one go with Patroni and the library its etcd driver needs. Without what is only recommended this takes half the
# time: 31 packages less to unpack and, for Python, to compile.
Install PostgreSQL and Patroni:
  pkg.installed:
    - pkgs:
      - postgresql-{{ postgresql.version }}
      - patroni{{ ": " ~ (patroni.version | json) if patroni.version }}
      - python3-etcd
    - install_recommends: False
    - require:
      - file: Prevent packages from starting our services
      - file: Prevent Debian from creating a PostgreSQL cluster
