{%- set keepalived = pillar.keepalived %}
{%- set interface = keepalived.interface %}
{%- if interface == "auto" %}
{%- set interface = salt["fanatico_keepalived.interface"]() or "" %}
{%- endif %}

include:
  - haproxy.installed
  - keepalived.installed

Create the user of Keepalived's checks:
  user.present:
    - name: keepalived_script
    - system: True
    - createhome: False
    - home: /nonexistent
    - shell: /usr/sbin/nologin

Install the HAProxy check of Keepalived:
  file.managed:
    - name: /etc/keepalived/haproxy-answers
    - source: salt://keepalived/files/haproxy-answers.sh
    - mode: "0755"
    - require:
      - pkg: Install Keepalived

Install the edge check of Keepalived:
  file.managed:
    - name: /etc/keepalived/edge-elsewhere
    - source: salt://keepalived/files/edge-elsewhere.sh
    - mode: "0755"
    - require:
      - pkg: Install Keepalived

# Each check writes it again: an old one tells of a Keepalived that hangs. The checks' user has no right to make it.
Configure the timestamp file of Keepalived's checks:
  file.managed:
    - name: /etc/tmpfiles.d/fanatico-keepalived.conf
    - contents: f /run/keepalived.asked 0644 keepalived_script - -
    - mode: "0644"
    - require:
      - user: Create the user of Keepalived's checks

Create the timestamp file of Keepalived's checks:
  cmd.run:
    - name: systemd-tmpfiles --create /etc/tmpfiles.d/fanatico-keepalived.conf
    - creates: /run/keepalived.asked
    - require:
      - file: Configure the timestamp file of Keepalived's checks

Remove the virtual IP when Keepalived dies:
  file.managed:
    - name: /etc/systemd/system/keepalived.service.d/fanatico.conf
    - source: salt://keepalived/files/service.conf.jinja
    - template: jinja
    - makedirs: True
    - context:
        address: {{ pillar.plan.virtual_ip.address }}
        interface: {{ interface | yaml_dquote }}
    - require:
      - pkg: Install Keepalived

Configure Keepalived:
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
      - pkg: Install HAProxy
      - pkg: Install Keepalived
      - user: Create the user of Keepalived's checks
      - file: Install the HAProxy check of Keepalived
      - file: Install the edge check of Keepalived
