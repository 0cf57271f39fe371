include:
  - minion.configured

# What `systemctl enable` does, without its processes.
Salt minion starts with the machine:
  file.symlink:
    - name: /etc/systemd/system/multi-user.target.wants/salt-minion.service
    - target: /etc/systemd/system/salt-minion.service
    - makedirs: True
    - require:
      - file: Salt minion has its unit
{%- if opts.get("__cli") != "salt-minion" %}

# Not asked where the minion itself is at work here.
Salt minion runs:
  service.running:
    - name: salt-minion
    - require:
      - cmd: Salt is installed as locked
      - file: Salt minion has its name
      - cmd: Salt minion takes up its configuration when it is idle
{%- endif %}
