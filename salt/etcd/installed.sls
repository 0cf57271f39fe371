include:
  - base.installed

{%- set etcd = pillar.etcd %}

Configure etcd.service:
  file.managed:
    - name: /etc/systemd/system/etcd.service.d/fanatico.conf
    - source: salt://etcd/files/service.conf.jinja
    - template: jinja
    - context: {data_dir: {{ etcd.data_dir }}}
    - makedirs: True

Install etcd:
  pkg.installed:
    - pkgs:
      - etcd-server{{ ": " ~ (etcd.version | json) if etcd.version }}
      - etcd-client{{ ": " ~ (etcd.version | json) if etcd.version }}
    - install_recommends: False
    - require:
      - file: Prevent packages from starting our services
      - file: Configure etcd.service
