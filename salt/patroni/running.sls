include:
  - patroni.configured

Start Patroni:
  service.running:
    - name: patroni
    - enable: True
    - reload: True
    - watch:
      - file: Configure Patroni
    - require:
      - file: Configure patroni.service
