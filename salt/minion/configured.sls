{%- set minion = pillar.minion %}
{%- set masters = [] %}
{%- for node in pillar.plan.nodes.values() if "master" in node.roles %}
{%-   do masters.append(node.address) %}
{%- endfor %}
include:
  - minion.installed

Write the ID of the Salt minion:
  file.managed:
    - name: /etc/salt/minion_id
    - contents: {{ opts.id }}
    - contents_newline: False
    - makedirs: True

Configure the Salt minion:
  file.managed:
    - name: /etc/salt/minion.d/fanatico.conf
    - source: salt://minion/files/minion.conf.jinja
    - template: jinja
    - makedirs: True
    - context:
        master: {{ masters | first | json }}
        # Known to salt-ssh from the roster, and to a minion from this very file.
        fingerprint: {{ (minion.master_fingerprint or opts.get("master_finger", "")) | json }}

Configure salt-minion.service:
  file.managed:
    - name: /etc/systemd/system/salt-minion.service
    - source: salt://minion/files/salt-minion.service

# Restarting a minion ends the jobs it is at, this one too. So a changed configuration waits for a quiet time.
Restart the Salt minion when it is idle:
  cmd.script:
    - name: salt://minion/files/restart-when-quiet
    - args: salt-minion {{ minion.restart_quiet }} /var/cache/salt/minion/proc
    - onlyif: systemctl is-active --quiet salt-minion
    - onchanges:
      - file: Configure the Salt minion
      - file: Configure salt-minion.service
