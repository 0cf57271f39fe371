include:
  - base.installed

Configure prometheus-node-exporter.service:
  file.managed:
    - name: /etc/systemd/system/prometheus-node-exporter.service.d/fanatico.conf
    - source: salt://node_exporter/files/service.conf.jinja
    - template: jinja
    - makedirs: True

Install node_exporter:
  pkg.installed:
    - name: prometheus-node-exporter
    - install_recommends: False
    - require:
      - file: Prevent packages from starting our services
      - file: Configure prometheus-node-exporter.service
