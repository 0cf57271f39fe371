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
