include:
  - minion.configured

# What `systemctl enable` does, without its processes.
Enable the Salt minion at boot:
  file.symlink:
    - name: /etc/systemd/system/multi-user.target.wants/salt-minion.service
    - target: /etc/systemd/system/salt-minion.service
    - makedirs: True
    - require:
      - file: Configure salt-minion.service
{%- if opts.get("__cli") != "salt-minion" %}

# Not asked where the minion itself is at work here.
Start the Salt minion:
  service.running:
    - name: salt-minion
    - require:
      - cmd: Install Salt from the lock file
      - file: Write the ID of the Salt minion
      - cmd: Restart the Salt minion when it is idle
{%- endif %}
