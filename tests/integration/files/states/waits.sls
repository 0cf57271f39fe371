A minion sleeps for a minute and a half:
  step.function:
    - name: test.sleep
    - tgt: etcd1
    - arg: [90]
    - timeout: 300
