# Debian starts a service as soon as its package is unpacked, on the package's own settings, and restarts it when
# apt upgrades it. Ours are started, restarted and upgraded by their states alone, one node at a time.
Prevent packages from starting our services:
  file.managed:
    - name: /usr/sbin/policy-rc.d
    - source: salt://base/files/policy-rc.d.jinja
    - template: jinja
    - mode: "0755"

# Two more that restart or upgrade by themselves, where the operator has them installed.
Prevent needrestart from restarting our services:
  file.managed:
    - name: /etc/needrestart/conf.d/fanatico.conf
    - source: salt://base/files/needrestart.conf.jinja
    - template: jinja
    - makedirs: True

Exclude our packages from unattended upgrades:
  file.managed:
    - name: /etc/apt/apt.conf.d/52fanatico
    - source: salt://base/files/apt-unattended.conf.jinja
    - template: jinja
