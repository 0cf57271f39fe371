# Prometheus' node_exporter: the metrics of a host, for clients with a certificate.
# node_exporter.installed    the package, and a unit that uses our configuration only
# node_exporter.certified    its certificate; the health check uses it too
# node_exporter.configured   TLS and allowed clients
# node_exporter.running      enabled and running
include:
  - node_exporter.installed
  - node_exporter.certified
  - node_exporter.configured
  - node_exporter.running
