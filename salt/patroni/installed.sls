include:
  - postgresql.installed

Patroni runs on our configuration only:
  file.managed:
    - name: /etc/systemd/system/patroni.service.d/fanatico.conf
    - source: salt://patroni/files/service.conf
    - makedirs: True
    - require_in:
      - pkg: PostgreSQL and Patroni are installed

patroni.yml can be checked:
  file.managed:
    - name: /usr/local/lib/fanatico/check-patroni
    - source: salt://patroni/files/check-patroni
    - mode: "0755"
    - makedirs: True
