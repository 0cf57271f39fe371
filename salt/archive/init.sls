# pgBackRest on both sides: the hosts of the databases and of the repository.
# archive.unclustered  prevents Debian's own cluster of PostgreSQL, whose package both sides have
# archive.installed    the package, its folders, and a unit that uses our configuration only
# archive.certified    its certificate, with which the hosts know each other
# archive.configured   pgbackrest.conf
# archive.running      the TLS server that the other side connects to
include:
  - archive.installed
  - archive.certified
  - archive.configured
  - archive.running
