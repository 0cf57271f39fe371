include:
  - base.installed

node_exporter runs on our configuration only:
  file.managed:
    - name: /etc/systemd/system/prometheus-node-exporter.service.d/fanatico.conf
    - source: salt://node_exporter/files/service.conf.jinja
    - template: jinja
    - makedirs: True

node_exporter is installed:
  pkg.installed:
    - name: prometheus-node-exporter
    - install_recommends: False
    - require:
      - file: Packages do not start our services
      - file: node_exporter runs on our configuration only
