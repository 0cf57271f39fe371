include:
  - node_exporter.installed

# It reads them again for each connection.
node_exporter has its certificate:
  fanatico_pki.issued:
    - name: node_exporter
    - require:
      - pkg: node_exporter is installed
