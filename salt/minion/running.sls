include:
  - minion.configured

Salt minion runs:
  service.running:
    - name: salt-minion
    - enable: True
    - require:
      - cmd: Salt is installed as locked
      - file: Salt minion has its name
      - cmd: Salt minion takes up its configuration when it is idle
