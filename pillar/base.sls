#!yaml
# Settings of the operating system on every node.
base:
  timezone: Etc/UTC
  ntp_servers: []                 # empty: the distribution's own
  sysctl: {}                      # further kernel settings, name: value
