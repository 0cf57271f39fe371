include:
  - haproxy.installed

Issue certificates for HAProxy:
  fanatico_pki.issued:
    - name: haproxy
    - require:
      - pkg: Install HAProxy

# Where it runs: without a reload, which would leave a process to the sessions that are there.
Load certificates into HAProxy:
  fanatico_haproxy.certified:
    - name: haproxy
    - require:
      - fanatico_pki: Issue certificates for HAProxy

Load certificates into the edge:
  fanatico_haproxy.certified:
    - name: haproxy-edge
    - require:
      - fanatico_pki: Issue certificates for HAProxy
