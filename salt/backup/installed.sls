include:
  - archive.installed
  - archive.unclustered

# For the copies of the restore drill. It brings pg_amcheck too.
Install PostgreSQL for restores:
  pkg.installed:
    - name: postgresql-{{ pillar.postgresql.version }}
    - install_recommends: False
    - require:
      - file: Prevent packages from starting our services
      - file: Prevent Debian from creating a PostgreSQL cluster
