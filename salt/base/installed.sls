# Debian starts a service as soon as its package is unpacked, on the package's own settings, and restarts it when
# apt upgrades it. Ours are started, restarted and upgraded by their states alone, one node at a time.
Packages do not start our services:
  file.managed:
    - name: /usr/sbin/policy-rc.d
    - source: salt://base/files/policy-rc.d
    - mode: "0755"
