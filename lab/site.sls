# What only a lab wants; merged over the committed pillar as pillar/site.
base:
  sysctl_vm: false
