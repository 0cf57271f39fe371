# Every machine, whatever its roles.
# base.validated        nothing is done by a pillar that is not sound
# base.installed    packages do not start our services; every *.installed includes it
# base.tools        programs for the person on call
# base.configured   name, hosts file, kernel settings, journal, clock
include:
  - base.validated
  - base.installed
  - base.tools
  - base.configured
