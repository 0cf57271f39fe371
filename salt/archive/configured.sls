include:
  - archive.certified

Install the command that archives WAL:
  file.managed:
    - name: /usr/local/lib/fanatico/pgbackrest-archive
    - source: salt://archive/files/pgbackrest-archive
    - mode: "0755"
    - makedirs: True

Install the program that makes copies:
  file.managed:
    - name: /usr/local/lib/fanatico/restored_copy.py
    - source: salt://archive/files/restored_copy.py
    - mode: "0644"
    - makedirs: True
{%- if salt["fanatico_plan.has_role"]("patroni") and salt["fanatico_plan.nodes"]("backup") %}

Install the program that restores the cluster:
  file.managed:
    - name: /usr/local/lib/fanatico/restore_cluster.py
    - source: salt://archive/files/restore_cluster.py
    - mode: "0644"
    - makedirs: True

# Nothing starts it but orch.restore.
Configure the unit that restores the cluster:
  file.managed:
    - name: /etc/systemd/system/fanatico-restore.service
    - source: salt://archive/files/restore.service.jinja
    - template: jinja

Load the unit that restores the cluster:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: Configure the unit that restores the cluster

Install the program that sends WAL of a former primary:
  file.managed:
    - name: /usr/local/lib/fanatico/archive-gap
    - source: salt://archive/files/archive-gap.jinja
    - template: jinja
    - mode: "0755"
    - makedirs: True
{%- endif %}

Configure pgBackRest:
  file.managed:
    - name: /etc/pgbackrest/pgbackrest.conf
    - source: salt://archive/files/pgbackrest.conf.jinja
    - template: jinja
    - user: root
    - group: postgres
    - mode: "0640"
    - makedirs: True
    - show_changes: False
    - require:
      - fanatico_pki: Issue certificates for pgBackRest
      - file: Create the folders of pgBackRest
