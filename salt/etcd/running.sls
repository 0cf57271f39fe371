include:
  - etcd.configured

{%- set etcd = pillar.etcd %}

Add this node to the etcd cluster:
  fanatico_etcd.member_present:
    - name: {{ grains.id }}
    - data_dir: {{ etcd.data_dir }}
    # Not empty: found a new cluster if no member has data. The orchestrations pass it after a look at all nodes; it is no setting.
    - bootstrap: {{ etcd.get("bootstrap", "") | json }}
    - timeout: {{ etcd.join_timeout }}
    - require:
      - file: Configure etcd
      - file: Create the data directory of etcd

Start etcd:
  fanatico_etcd.running:
    - name: etcd
    - timeout: {{ etcd.start_timeout }}
    - require:
      - fanatico_etcd: Add this node to the etcd cluster

Record the identity of etcd:
  fanatico_identity.kept:
    - name: etcd
    - require:
      - fanatico_etcd: Start etcd
