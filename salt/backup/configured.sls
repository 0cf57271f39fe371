include:
  - archive
  - backup.installed

{%- set backup = pillar.backup %}

Create the repository:
  file.directory:
    - name: {{ backup.path }}
    - user: postgres
    - group: postgres
    - mode: "0750"
    - require:
      - pkg: Install pgBackRest

Configure the units of the backups:
  file.managed:
    - names:
      - /etc/systemd/system/fanatico-backup@.service:
        - source: salt://backup/files/backup.service.jinja
      - /etc/systemd/system/fanatico-backup-verify.service:
        - source: salt://backup/files/verify.service.jinja
      - /etc/systemd/system/fanatico-backup-drill.service:
        - source: salt://backup/files/drill.service.jinja
      - /etc/systemd/system/fanatico-clone.service:
        - source: salt://backup/files/clone.service.jinja
{%- for name, when in backup.schedule.items() %}
      - /etc/systemd/system/fanatico-backup-{{ name }}.timer:
        - source: salt://backup/files/timer.jinja
        - context:
            name: {{ name }}
            when: {{ when | json }}
{%- endfor %}
    - template: jinja
