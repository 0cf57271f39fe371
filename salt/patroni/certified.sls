include:
  - patroni.installed

Issue certificates for Patroni and PostgreSQL:
  fanatico_pki.issued:
    - name: patroni
    - require:
      - pkg: Install PostgreSQL and Patroni

# Where it runs. PostgreSQL is told by Patroni.
Load certificates into Patroni and PostgreSQL:
  cmd.run:
    - name: systemctl try-reload-or-restart patroni
    - onchanges:
      - fanatico_pki: Issue certificates for Patroni and PostgreSQL
