include:
  - haproxy.installed

User for the edge:
  user.present:
    - name: haproxy-edge
    - system: True
    - createhome: False
    - home: /var/lib/haproxy-edge
    - shell: /usr/sbin/nologin

# Keepalived, and whoever looks for processes, tells the two apart by the name of the program.
The edge has a name of its own:
  file.symlink:
    - name: /usr/local/sbin/haproxy-edge
    - target: /usr/sbin/haproxy
    - require:
      - pkg: HAProxy is installed

# All it sees once it has started; systemd puts the journal's socket there.
The edge has a root directory:
  file.directory:
    - name: /var/lib/haproxy-edge/dev
    - makedirs: True
    - user: root
    - group: root
    - mode: "0755"
