include:
  - haproxy.installed

Issue certificates for HAProxy:
  fanatico_pki.issued:
    - name: haproxy
    - require:
      - pkg: Install HAProxy

# On a running HAProxy, without a reload: a reload would leave an old process behind for the existing sessions.
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
