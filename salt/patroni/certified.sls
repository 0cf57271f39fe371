include:
  - patroni.installed

Patroni and PostgreSQL have their certificates:
  fanatico_pki.issued:
    - name: patroni
    - require:
      - pkg: PostgreSQL and Patroni are installed

# Where it runs. PostgreSQL is told by Patroni.
Patroni takes up its certificates:
  cmd.run:
    - name: systemctl try-reload-or-restart patroni
    - onchanges:
      - fanatico_pki: Patroni and PostgreSQL have their certificates
