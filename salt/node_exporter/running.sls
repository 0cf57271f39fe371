include:
  - node_exporter.configured

node_exporter runs:
  service.running:
    - name: prometheus-node-exporter
    - enable: True
    - watch:
      - file: node_exporter runs on our configuration only
    - require:
      - file: node_exporter knows who may read
