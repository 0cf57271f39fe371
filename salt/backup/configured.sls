include:
  - archive
  - backup.installed

{%- set backup = pillar.backup %}
{%- set s3 = salt["fanatico_backup.repositories"]().get("s3") %}

# What was created on a file system is not created once more below its mount point.
Refuse a repository that is not mounted:
  fanatico_backup.mounted:
    - name: {{ backup.path }}

Create the repository:
  file.directory:
    - name: {{ backup.path }}
    - user: postgres
    - group: postgres
    - mode: "0750"
    - require:
      - pkg: Install pgBackRest
      - fanatico_backup: Refuse a repository that is not mounted

Mark the repository:
  fanatico_backup.marked:
    - name: {{ backup.path }}
    - require:
      - file: Create the repository
{%- if s3 %}

Configure the repository in S3:
  file.managed:
    - name: /etc/pgbackrest/conf.d/s3.conf
    - source: salt://backup/files/s3.conf.jinja
    - template: jinja
    - user: root
    - group: postgres
    - mode: "0640"
    - makedirs: True
    - show_changes: False
    - require:
      - file: Configure pgBackRest

# It uncompresses WAL.
Install zstd:
  pkg.installed:
    - name: zstd
    - install_recommends: False

Install the program that sends WAL to S3:
  file.managed:
    - name: /usr/local/lib/fanatico/wal_to_s3.py
    - source: salt://backup/files/wal_to_s3.py
    - mode: "0644"
    - makedirs: True
{%-   if backup.s3.ca %}

Install the authority of the S3 server:
  file.managed:
    - name: /etc/pgbackrest/s3-ca.crt
    - contents_pillar: backup:s3:ca
    - mode: "0644"
    - require:
      - file: Configure pgBackRest
{%-   endif %}
{%- endif %}

Create the directory of the copies of the Salt master's backups:
  file.directory:
    - name: {{ backup.master.path }}
    - mode: "0700"

Configure the units of the backups:
  file.managed:
    - names:
      - /etc/systemd/system/fanatico-backup@.service:
        - source: salt://backup/files/backup.service.jinja
        - context:
            repository: {{ salt["fanatico_backup.index"]("local") if s3 else "null" }}
      - /etc/systemd/system/fanatico-backup-verify.service:
        - source: salt://backup/files/verify.service.jinja
        - context:
            repository: {{ salt["fanatico_backup.index"]("local") if s3 else "null" }}
{%- if s3 %}
      - /etc/systemd/system/fanatico-backup-s3@.service:
        - source: salt://backup/files/backup.service.jinja
        - context:
            repository: {{ s3 }}
      - /etc/systemd/system/fanatico-backup-s3-wal.service:
        - source: salt://backup/files/wal_to_s3.service.jinja
      - /etc/systemd/system/fanatico-backup-s3-verify.service:
        - source: salt://backup/files/verify.service.jinja
        - context:
            repository: {{ s3 }}
{%-   for name, when in backup.schedule.items() if name != "drill" %}
      - /etc/systemd/system/fanatico-backup-s3-{{ name }}.timer:
        - source: salt://backup/files/timer.jinja
        - context:
            prefix: fanatico-backup-s3
            name: {{ name }}
            when: {{ when | json }}
{%-   endfor %}
{%- endif %}
      - /etc/systemd/system/fanatico-backup-drill.service:
        - source: salt://backup/files/drill.service.jinja
      - /etc/systemd/system/fanatico-clone.service:
        - source: salt://backup/files/clone.service.jinja
{%- for name, when in backup.schedule.items() %}
      - /etc/systemd/system/fanatico-backup-{{ name }}.timer:
        - source: salt://backup/files/timer.jinja
        - context:
            prefix: fanatico-backup
            name: {{ name }}
            when: {{ when | json }}
{%- endfor %}
    - template: jinja
