include:
  - patroni.installed

Issue certificates for Patroni and PostgreSQL:
  fanatico_pki.issued:
    - name: patroni
    - require:
      - pkg: Install PostgreSQL and Patroni

# Only if Patroni runs. Patroni reloads PostgreSQL.
Load certificates into Patroni and PostgreSQL:
  cmd.run:
    - name: systemctl try-reload-or-restart patroni
    - onchanges:
      - fanatico_pki: Issue certificates for Patroni and PostgreSQL
