{%- set keepalived = pillar.keepalived %}
{%- set interface = keepalived.interface %}
{%- if interface == "auto" %}
{%- set interface = salt["fanatico_keepalived.interface"]() or "" %}
{%- endif %}

include:
  - haproxy.installed
  - keepalived.installed

User for the checks of Keepalived:
  user.present:
    - name: keepalived_script
    - system: True
    - createhome: False
    - home: /nonexistent
    - shell: /usr/sbin/nologin

Keepalived can ask HAProxy:
  file.managed:
    - name: /etc/keepalived/haproxy-answers
    - source: salt://keepalived/files/haproxy-answers.sh
    - mode: "0755"
    - require:
      - pkg: Keepalived is installed

Keepalived can ask where the edge is:
  file.managed:
    - name: /etc/keepalived/edge-elsewhere
    - source: salt://keepalived/files/edge-elsewhere.sh
    - mode: "0755"
    - require:
      - pkg: Keepalived is installed

# Each check writes it again: an old one tells of a Keepalived that hangs. The checks' user has no right to make it.
The checks of Keepalived have a file to write:
  file.managed:
    - name: /etc/tmpfiles.d/fanatico-keepalived.conf
    - contents: f /run/keepalived.asked 0644 keepalived_script - -
    - mode: "0644"
    - require:
      - user: User for the checks of Keepalived

The checks of Keepalived can write it now:
  cmd.run:
    - name: systemd-tmpfiles --create /etc/tmpfiles.d/fanatico-keepalived.conf
    - creates: /run/keepalived.asked
    - require:
      - file: The checks of Keepalived have a file to write

A killed Keepalived leaves no address behind:
  file.managed:
    - name: /etc/systemd/system/keepalived.service.d/fanatico.conf
    - source: salt://keepalived/files/service.conf.jinja
    - template: jinja
    - makedirs: True
    - context:
        address: {{ pillar.plan.virtual_ip.address }}
        interface: {{ interface | yaml_dquote }}
    - require:
      - pkg: Keepalived is installed

Keepalived is configured:
  file.managed:
    - name: /etc/keepalived/keepalived.conf
    - source: salt://keepalived/files/keepalived.conf.jinja
    - template: jinja
    - mode: "0640"
    - show_changes: False
    - check_cmd: keepalived --config-test --use-file
    - context:
        interface: {{ interface | yaml_dquote }}
        # Only the real machine's own network hears of the deaths of processes, no container does.
        process_events: {{ not salt["fanatico_node.in_container"]() }}
    - require:
      # Its directory under /run has the file that is watched.
      - pkg: HAProxy is installed
      - pkg: Keepalived is installed
      - user: User for the checks of Keepalived
      - file: Keepalived can ask HAProxy
      - file: Keepalived can ask where the edge is
