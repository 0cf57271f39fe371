{%- set master = pillar.master %}
include:
  - minion.installed

Salt master is configured:
  file.managed:
    - name: /etc/salt/master.d/fanatico.conf
    - source: salt://master/files/master.conf.jinja
    - template: jinja
    - makedirs: True
    - context: {{ dict(master, address=pillar.plan.nodes[opts.id].address) | json }}

Salt master takes from a minion what is its own:
  file.managed:
    - name: /usr/local/sbin/fanatico-salt-master
    - source: salt://master/files/salt_master.py
    - mode: "0755"

Salt master has its unit:
  file.managed:
    - name: /etc/systemd/system/salt-master.service
    - source: salt://master/files/salt-master.service.jinja
    - template: jinja
    - context:
        ca_dir: {{ master.ca_dir }}
    - require:
      - file: Salt master takes from a minion what is its own
      - file: Salt master has a place for its authorities
      - file: Salt master keeps its keys to itself

Salt master has a place for its authorities:
  file.directory:
    - name: {{ master.ca_dir }}
    - makedirs: True
    - mode: "0700"

# In its sandbox it could not make these directories itself.
Salt master keeps its keys to itself:
  file.directory:
    - names:
      - /etc/salt/gpgkeys
      - /etc/salt/pki/master
    - makedirs: True
    - mode: "0700"

Salt master remembers locks and healings:
  file.directory:
    - name: /var/lib/fanatico
    - mode: "0700"

Salt master writes its history:
  file.directory:
    - name: /var/log/fanatico
    - mode: "0750"

Salt master's history does not grow for ever:
  file.managed:
    - name: /etc/logrotate.d/fanatico
    - source: salt://master/files/logrotate.conf
    - makedirs: True

Salt master leaves no pillar on the disk:
  file.absent:
    - name: /var/cache/salt/master/pillar

# Not while anything runs that it started, an orchestration first of all.
Salt master takes up its configuration when it is idle:
  cmd.script:
    - name: salt://minion/files/restart-when-quiet
    - args: salt-master 10 /var/cache/salt/master/proc /var/cache/salt/minion/proc
    - onlyif: systemctl is-active --quiet salt-master
    - onchanges:
      - file: Salt master is configured
      - file: Salt master takes from a minion what is its own
      - file: Salt master has its unit
