include:
  - base.installed

{%- set postgresql = pillar.postgresql %}
{%- set patroni = pillar.patroni %}

Debian makes no cluster of its own:
  file.managed:
    - name: /etc/postgresql-common/createcluster.conf
    - makedirs: True
    - contents: |
        # Managed by Salt (salt/postgresql): Patroni makes the cluster.
        create_main_cluster = false

# In one go with Patroni and the library its etcd driver needs. Without what is only recommended this takes half the
# time: 31 packages less to unpack and, for Python, to compile.
PostgreSQL and Patroni are installed:
  pkg.installed:
    - pkgs:
      - postgresql-{{ postgresql.version }}
      - patroni{{ ": " ~ (patroni.version | json) if patroni.version }}
      - python3-etcd
    - install_recommends: False
    - require:
      - file: Packages do not start our services
      - file: Debian makes no cluster of its own
