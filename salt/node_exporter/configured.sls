include:
  - node_exporter.certified

# Read again for each connection, too. It has no checker of its own: tests/rendering/test_node_exporter.py.
Configure TLS and client certificates of node_exporter:
  file.managed:
    - name: /etc/prometheus-node-exporter/web.yml
    - source: salt://node_exporter/files/web.yml.jinja
    - template: jinja
    - makedirs: True
    - user: root
    - group: prometheus
    - mode: "0640"
    - require:
      - fanatico_pki: Issue certificates for node_exporter
