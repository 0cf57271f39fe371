include:
  - archive.installed

Issue certificates for pgBackRest:
  fanatico_pki.issued:
    - name: archive
    - require:
      - pkg: Install pgBackRest

# Only if it runs.
Load certificates into pgBackRest:
  cmd.run:
    - name: systemctl try-reload-or-restart pgbackrest
    - onchanges:
      - fanatico_pki: Issue certificates for pgBackRest
