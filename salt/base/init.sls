# Every host, whatever its roles.
# base.validated    stops the highstate if the pillar is not valid
# base.installed    prevents packages from starting our services; every *.installed includes it
# base.tools        tools for the operator
# base.configured   host name, hosts file, kernel settings, journal, clock
include:
  - base.validated
  - base.installed
  - base.tools
  - base.configured
