#!yaml
# The operating system on every node.
base:
  tools: [curl, jq, tcpdump]      # Debian packages for the person on call; empty: none
  time_servers: []                # empty: those the distribution chose
  journal_max_use: 500M           # what the journal may take of the disk
  sysctl: {}                      # further kernel settings, or others than salt/base/defaults.yaml has; name: value
  disk:                           # too little is free where both are undercut
    tight: {percent: 10, gib: 5}  # degraded
    full: {percent: 3, gib: 1}    # critical: packages' archives, old journals and core dumps go
