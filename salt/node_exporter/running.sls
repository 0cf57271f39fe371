include:
  - node_exporter.configured

Start node_exporter:
  service.running:
    - name: prometheus-node-exporter
    - enable: True
    - watch:
      - file: Configure prometheus-node-exporter.service
    - require:
      - file: Configure TLS and client certificates of node_exporter
