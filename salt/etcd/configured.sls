include:
  - etcd.certified

Create the data directory of etcd:
  file.directory:
    - name: {{ pillar.etcd.data_dir }}
    - user: etcd
    - group: etcd
    - mode: "0700"
    - require:
      - pkg: Install etcd

Configure etcd:
  file.managed:
    - name: /etc/etcd/etcd.conf.yml
    - source: salt://etcd/files/etcd.conf.yml.jinja
    - template: jinja
    - makedirs: True
    - require:
      - fanatico_pki: Issue certificates for etcd

# All members sign with it and know it again, so that any of them takes a token that another gave out.
Install the token key of etcd:
  file.managed:
    - name: /etc/etcd/pki/token.key
    - contents_pillar: secrets:ETCD_TOKEN_KEY
    - contents_newline: False
    - user: etcd
    - group: etcd
    - mode: "0600"
    - show_changes: False
    - require:
      - fanatico_pki: Issue certificates for etcd

Configure etcdctl:
  file.managed:
    - name: /etc/profile.d/etcdctl.sh
    - source: salt://etcd/files/etcdctl.sh.jinja
    - template: jinja
