include:
  - etcd.installed

# Read again for each connection, but for whom to trust: etcd.running restarts for that.
Issue certificates for etcd:
  fanatico_pki.issued:
    - name: etcd
    - require:
      - pkg: Install etcd
