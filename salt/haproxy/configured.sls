include:
  - haproxy.certified

# Both balancers listen on the virtual IP, also the one that does not hold it now.
HAProxy may bind an address that is elsewhere:
  file.managed:
    - name: /etc/sysctl.d/61-fanatico-haproxy.conf
    - contents: |
        # Managed by Salt (salt/haproxy).
        net.ipv4.ip_nonlocal_bind = 1
  cmd.run:
    - name: /usr/lib/systemd/systemd-sysctl /etc/sysctl.d/61-fanatico-haproxy.conf
    - onchanges:
      - file: HAProxy may bind an address that is elsewhere

HAProxy tells keepalived when it stops:
  file.managed:
    - name: /etc/systemd/system/haproxy.service.d/fanatico.conf
    - source: salt://haproxy/files/service.conf
    - makedirs: True
    - require:
      - pkg: HAProxy is installed

HAProxy has end_sessions.lua:
  file.managed:
    - name: /etc/haproxy/end_sessions.lua
    - source: salt://haproxy/files/end_sessions.lua
    - require:
      - pkg: HAProxy is installed
    - require_in:
      - file: HAProxy is configured

HAProxy is configured:
  file.managed:
    - name: /etc/haproxy/haproxy.cfg
    - source: salt://haproxy/files/haproxy.cfg.jinja
    - template: jinja
    - mode: "0640"
    - show_changes: False
    - check_cmd: haproxy -c -q -f
    - require:
      - fanatico_pki: HAProxy has its certificate
      - cmd: HAProxy may bind an address that is elsewhere
