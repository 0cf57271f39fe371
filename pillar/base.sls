#!yaml
# The operating system on every node.
base:
  time_servers: []                # empty: those the distribution chose
  journal_max_use: 500M           # what the journal may take of the disk
  sysctl: {}                      # further kernel settings, name: value
