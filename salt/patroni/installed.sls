include:
  - postgresql.installed

Configure patroni.service:
  file.managed:
    - name: /etc/systemd/system/patroni.service.d/fanatico.conf
    - source: salt://patroni/files/service.conf
    - makedirs: True
    - require_in:
      - pkg: Install PostgreSQL and Patroni

Install the check of patroni.yml:
  file.managed:
    - name: /usr/local/lib/fanatico/check-patroni
    - source: salt://patroni/files/check-patroni
    - mode: "0755"
    - makedirs: True
