include:
  - etcd.configured

{%- set etcd = pillar.etcd %}

This node is in the etcd cluster:
  fanatico_etcd.member_present:
    - name: {{ grains.id }}
    - data_dir: {{ etcd.data_dir }}
    # True founds a new cluster where no member anywhere has data. orch.deploy says so once it has looked; it is no setting.
    - bootstrap: {{ etcd.get("bootstrap", False) }}
    - timeout: {{ etcd.join_timeout }}
    - require:
      - file: etcd is configured
      - file: etcd has a place for its data

etcd runs:
  fanatico_etcd.running:
    - name: etcd
    - timeout: {{ etcd.start_timeout }}
    - require:
      - fanatico_etcd: This node is in the etcd cluster

What etcd runs with is known:
  fanatico_identity.kept:
    - name: etcd
    - require:
      - fanatico_etcd: etcd runs
