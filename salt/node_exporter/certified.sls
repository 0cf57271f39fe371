include:
  - node_exporter.installed

# node_exporter reads the files again for each connection.
Issue certificates for node_exporter:
  fanatico_pki.issued:
    - name: node_exporter
    - require:
      - pkg: Install node_exporter
