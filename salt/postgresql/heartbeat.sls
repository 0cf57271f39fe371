include:
  - postgresql.roles

{%- set name = "/etc/systemd/system/fanatico-heartbeat" %}
{%- if salt["fanatico_plan.nodes"]("backup") %}

# A row with the time, written by the primary: it says how far a restored copy reaches, and makes WAL in an idle cluster.
Configure the heartbeat:
  file.managed:
    - names:
      - {{ name }}.service:
        - source: salt://postgresql/files/heartbeat.service
      - {{ name }}.timer:
        - source: salt://postgresql/files/heartbeat.timer
      - /usr/local/lib/fanatico/heartbeat.sql:
        - source: salt://postgresql/files/heartbeat.sql
    - makedirs: True

Load the units of the heartbeat:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: Configure the heartbeat

Start the heartbeat:
  service.running:
    - name: fanatico-heartbeat.timer
    - enable: True
    - watch:
      - file: Configure the heartbeat
    - require:
      - module: Load the units of the heartbeat
{%- else %}

Stop the heartbeat:
  service.dead:
    - name: fanatico-heartbeat.timer
    - enable: False
{%- endif %}
