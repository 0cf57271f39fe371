include:
  - etcd.installed

# etcd reads certificates again for each connection. It does not for the trusted authorities: etcd.running restarts it for these.
Issue certificates for etcd:
  fanatico_pki.issued:
    - name: etcd
    - require:
      - pkg: Install etcd
