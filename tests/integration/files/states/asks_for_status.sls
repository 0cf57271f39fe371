A step that depends on the cluster:
  salt.runner:
    - name: fanatico.status
    - timeout: 2
