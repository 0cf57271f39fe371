{%- set master = pillar.master %}
{%- set backup = pillar.backup.master %}
include:
  - minion.installed

Configure the Salt master:
  file.managed:
    - name: /etc/salt/master.d/fanatico.conf
    - source: salt://master/files/master.conf.jinja
    - template: jinja
    - makedirs: True
    - context: {{ dict(master, address=pillar.plan.nodes[opts.id].address) | json }}

Install the message filter of the Salt master:
  file.managed:
    - name: /usr/local/sbin/fanatico-salt-master
    - source: salt://master/files/salt_master.py
    - mode: "0755"

Configure salt-master.service:
  file.managed:
    - name: /etc/systemd/system/salt-master.service
    - source: salt://master/files/salt-master.service.jinja
    - template: jinja
    - context:
        ca_dir: {{ master.ca_dir }}
    - require:
      - file: Install the message filter of the Salt master
      - file: Create the directory of the certificate authorities
      - file: Restrict the key directories of the Salt master

Create the directory of the certificate authorities:
  file.directory:
    - name: {{ master.ca_dir }}
    - makedirs: True
    - mode: "0700"

# Its sandbox does not let it create these directories.
Restrict the key directories of the Salt master:
  file.directory:
    - names:
      - /etc/salt/gpgkeys
      - /etc/salt/pki/master
    - makedirs: True
    - mode: "0700"

Create the state directory of the Salt master:
  file.directory:
    - name: /var/lib/fanatico
    - mode: "0700"

Create the log directory of the Salt master:
  file.directory:
    - name: /var/log/fanatico
    - mode: "0750"

Configure log rotation of the history:
  file.managed:
    - name: /etc/logrotate.d/fanatico
    - source: salt://master/files/logrotate.conf
    - makedirs: True

Create the directory of the backups of the Salt master:
  file.directory:
    - name: {{ backup.path }}
    - mode: "0700"

Configure the units of the backup of the Salt master:
  file.managed:
    - names:
      - /etc/systemd/system/fanatico-master-backup.service:
        - source: salt://master/files/fanatico-master-backup.service.jinja
      - /etc/systemd/system/fanatico-master-backup.timer:
        - source: salt://master/files/fanatico-master-backup.timer.jinja
    - template: jinja

Delete cached pillars from the Salt master:
  file.absent:
    - name: /var/cache/salt/master/pillar

# Not while a job or an orchestration of the master is running.
Restart the Salt master when it is idle:
  cmd.script:
    - name: salt://minion/files/restart-when-quiet
    - args: salt-master 10 /var/cache/salt/master/proc /var/cache/salt/minion/proc
    - onlyif: systemctl is-active --quiet salt-master
    - onchanges:
      - file: Configure the Salt master
      - file: Install the message filter of the Salt master
      - file: Configure salt-master.service
