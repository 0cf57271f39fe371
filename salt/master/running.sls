include:
  - master.configured

Start the Salt master:
  service.running:
    - name: salt-master
    - enable: True
    - require:
      - file: Restrict the key directories of the Salt master
      - file: Create the state directory of the Salt master
      - file: Create the log directory of the Salt master
      - cmd: Install Salt from the lock file
      - cmd: Restart the Salt master when it is idle

Load the units of the backup of the Salt master:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: Configure the units of the backup of the Salt master

Start the timer of the backup of the Salt master:
  service.running:
    - name: fanatico-master-backup.timer
    - enable: True
    - require:
      - file: Create the directory of the backups of the Salt master
      - module: Load the units of the backup of the Salt master
    - watch:
      - file: Configure the units of the backup of the Salt master
