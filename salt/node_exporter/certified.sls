include:
  - node_exporter.installed

# It reads them again for each connection.
Issue certificates for node_exporter:
  fanatico_pki.issued:
    - name: node_exporter
    - require:
      - pkg: Install node_exporter
