include:
  - master.configured

Salt master runs:
  service.running:
    - name: salt-master
    - enable: True
    - require:
      - file: Salt master keeps its keys to itself
      - file: Salt master remembers locks and healings
      - file: Salt master writes its history
      - cmd: Salt is installed as locked
      - cmd: Salt master takes up its configuration when it is idle
