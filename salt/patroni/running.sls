include:
  - patroni.configured

Patroni runs:
  service.running:
    - name: patroni
    - enable: True
    - reload: True
    - watch:
      - file: Patroni is configured
    - require:
      - file: Patroni runs on our configuration only
