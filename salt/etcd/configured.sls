include:
  - etcd.installed

{%- from "etcd/map.jinja" import etcd with context %}

etcd has a place for its data:
  file.directory:
    - name: {{ etcd.data_dir }}
    - user: etcd
    - group: etcd
    - mode: "0700"
    - require:
      - pkg: etcd is installed

etcd is configured:
  file.managed:
    - name: /etc/etcd/etcd.conf.yml
    - source: salt://etcd/files/etcd.conf.yml.jinja
    - template: jinja
    - context: {etcd: {{ etcd | json }}}
    - makedirs: True
    - require:
      - pkg: etcd is installed
