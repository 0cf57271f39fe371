Prevent Debian from creating a PostgreSQL cluster:
  file.managed:
    - name: /etc/postgresql-common/createcluster.conf
    - makedirs: True
    - contents: |
        # Managed by Salt (salt/archive): Patroni creates the cluster.
        create_main_cluster = false
