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

{%- for name in ("rpc-classes.map", "rpc-unlimited.lst", "cloudflare.lst") %}

HAProxy has {{ name }}:
  file.managed:
    - name: /etc/haproxy/{{ name }}
    - source: salt://haproxy/files/{{ name }}.jinja
    - template: jinja
    - require:
      - pkg: HAProxy is installed
    - require_in:
      - file: HAProxy is configured
{%- endfor %}

{%- for name in ("rpc_guard.lua", "end_sessions.lua") %}

HAProxy has {{ name }}:
  file.managed:
    - name: /etc/haproxy/{{ name }}
    - source: salt://haproxy/files/{{ name }}
    - require:
      - pkg: HAProxy is installed
    - require_in:
      - file: HAProxy is configured
{%- endfor %}

# Read by HAProxy before it gives up root: what rpc_guard.lua has judged is told from what others on this host send.
HAProxy has a key for what it asks itself:
  cmd.run:
    - name: umask 077; head -c 32 /dev/urandom | sha256sum | cut -d ' ' -f 1 > /etc/haproxy/rpc-judged.key
    - unless: test -s /etc/haproxy/rpc-judged.key
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
