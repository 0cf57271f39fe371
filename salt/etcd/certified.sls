include:
  - etcd.installed

# Read again for each connection, but for whom to trust: etcd.running restarts for that.
etcd has its certificates:
  fanatico_pki.issued:
    - name: etcd
    - require:
      - pkg: etcd is installed
