include:
  - haproxy.installed

HAProxy has its certificate:
  fanatico_pki.issued:
    - name: haproxy
    - require:
      - pkg: HAProxy is installed

# Where it runs: without a reload, which would leave a process to the sessions that are there.
HAProxy takes up its certificate:
  fanatico_haproxy.certified:
    - name: haproxy
    - require:
      - fanatico_pki: HAProxy has its certificate

The edge takes up its certificate:
  fanatico_haproxy.certified:
    - name: haproxy-edge
    - require:
      - fanatico_pki: HAProxy has its certificate
