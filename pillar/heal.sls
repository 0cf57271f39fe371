#!yaml
# Healing without a person, and its limits.
heal:
  attempts: 3                     # at most so many starts of one unit on one node (0: none at all) ...
  window: 600                     # ... in so many seconds
