include:
  - base.installed

etcd runs on our configuration only:
  file.managed:
    - name: /etc/systemd/system/etcd.service.d/fanatico.conf
    - source: salt://etcd/files/service.conf
    - makedirs: True

etcd is installed:
  pkg.installed:
    - pkgs:
      - etcd-server
      - etcd-client
    - install_recommends: False
    - require:
      - file: Packages do not start our services
      - file: etcd runs on our configuration only
