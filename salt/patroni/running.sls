include:
  - patroni.configured

Patroni runs:
  service.running:
    - name: patroni
    - enable: True
    - reload: True
    - watch:
      - file: Patroni is configured
    - require:
      - file: Patroni runs on our configuration only

# After Patroni was told to read its configuration again: it would put the former password back.
Replicas connect with the password in the pillar:
  fanatico_patroni.passfile_current:
    - name: /var/lib/postgresql/.pgpass_patroni
    - require:
      - service: Patroni runs
