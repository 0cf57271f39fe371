include:
  - haproxy.configured

HAProxy runs:
  service.running:
    - name: haproxy
    - enable: True
    - reload: True
    - watch:
      - file: HAProxy is configured
      - file: HAProxy can judge batches
{%- for name in ("rpc-classes.map", "rpc-unlimited.lst", "cloudflare.lst") %}
      - file: HAProxy has {{ name }}
{%- endfor %}
      - file: HAProxy tells keepalived when it stops
    - require:
      - file: HAProxy is configured
