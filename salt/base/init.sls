# Every machine, whatever its roles.
# base.installed    packages do not start our services; every *.installed includes it
# base.configured   name, hosts file, kernel settings, journal, clock
include:
  - base.installed
  - base.configured
