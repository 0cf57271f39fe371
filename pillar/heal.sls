#!yaml
# Healing without a person: which limits it keeps.
heal:
  enabled: true                   # false: report faults, touch nothing
  limit: 3                        # at most so many starts of one unit on one node ...
  window: 600                     # ... in so many seconds
