#!yaml
# The Salt master.
master:
  worker_threads: 3
