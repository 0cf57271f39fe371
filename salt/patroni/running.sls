include:
  - patroni.configured

Start Patroni:
  service.running:
    - name: patroni
    - enable: True
    - reload: True
    - unless: test -e /var/lib/fanatico/patroni.hold  # a restore of the cluster has not ended
    - watch:
      - file: Configure Patroni
    - require:
      - file: Configure patroni.service
