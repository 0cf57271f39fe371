include:
  - base.installed
  - archive.unclustered

{%- set postgresql = pillar.postgresql %}
{%- set patroni = pillar.patroni %}

# Together with Patroni and the library of its etcd driver. Without recommended packages this takes half the time: 31 packages
# less to unpack and, for Python, to compile.
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
