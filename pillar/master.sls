#!yaml
# The Salt master.
master:
  worker_threads: 3
  answer_within: 60               # seconds that a deploy waits for a machine that does not answer
