include:
  - base.installed

{%- set etcd = pillar.etcd %}

etcd runs on our configuration only:
  file.managed:
    - name: /etc/systemd/system/etcd.service.d/fanatico.conf
    - source: salt://etcd/files/service.conf.jinja
    - template: jinja
    - context: {data_dir: {{ etcd.data_dir }}}
    - makedirs: True

etcd is installed:
  pkg.installed:
    - pkgs:
      - etcd-server{{ ": " ~ (etcd.version | json) if etcd.version }}
      - etcd-client{{ ": " ~ (etcd.version | json) if etcd.version }}
    - install_recommends: False
    - require:
      - file: Packages do not start our services
      - file: etcd runs on our configuration only
