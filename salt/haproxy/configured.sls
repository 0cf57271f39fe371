include:
  - haproxy.certified

# Both balancers listen on the virtual IP, also the one that does not hold it now.
Allow HAProxy to bind the virtual IP on a standby:
  file.managed:
    - name: /etc/sysctl.d/61-fanatico-haproxy.conf
    - contents: |
        # Managed by Salt (salt/haproxy).
        net.ipv4.ip_nonlocal_bind = 1
  cmd.run:
    - name: /usr/lib/systemd/systemd-sysctl /etc/sysctl.d/61-fanatico-haproxy.conf
    - onchanges:
      - file: Allow HAProxy to bind the virtual IP on a standby

Configure haproxy.service:
  file.managed:
    - name: /etc/systemd/system/haproxy.service.d/fanatico.conf
    - source: salt://haproxy/files/service.conf
    - makedirs: True
    - require:
      - pkg: Install HAProxy

Install end_sessions.lua for HAProxy:
  file.managed:
    - name: /etc/haproxy/end_sessions.lua
    - source: salt://haproxy/files/end_sessions.lua
    - require:
      - pkg: Install HAProxy
    - require_in:
      - file: Configure HAProxy

Configure HAProxy:
  file.managed:
    - name: /etc/haproxy/haproxy.cfg
    - source: salt://haproxy/files/haproxy.cfg.jinja
    - template: jinja
    - mode: "0640"
    - show_changes: False
    - check_cmd: haproxy -c -q -f
    - require:
      - fanatico_pki: Issue certificates for HAProxy
      - cmd: Allow HAProxy to bind the virtual IP on a standby
