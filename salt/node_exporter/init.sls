# Prometheus' node_exporter: the metrics of a host, for whoever has a certificate.
# node_exporter.installed    the package, and a unit that runs on our configuration only
# node_exporter.certified    its certificate, with which health asks it too
# node_exporter.configured   who may read
# node_exporter.running      enabled and running
include:
  - node_exporter.installed
  - node_exporter.certified
  - node_exporter.configured
  - node_exporter.running
