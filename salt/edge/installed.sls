include:
  - haproxy.installed

Create the user of the edge:
  user.present:
    - name: haproxy-edge
    - system: True
    - createhome: False
    - home: /var/lib/haproxy-edge
    - shell: /usr/sbin/nologin

# Keepalived, and whoever looks for processes, tells the two apart by the name of the program.
Link the edge's program to HAProxy:
  file.symlink:
    - name: /usr/local/sbin/haproxy-edge
    - target: /usr/sbin/haproxy
    - require:
      - pkg: Install HAProxy

# All it sees once it has started; systemd puts the journal's socket there.
Create the root directory of the edge:
  file.directory:
    - name: /var/lib/haproxy-edge/dev
    - makedirs: True
    - user: root
    - group: root
    - mode: "0755"
