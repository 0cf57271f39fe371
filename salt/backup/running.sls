include:
  - backup.configured

Load the units of the backups:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: Configure the units of the backups
{%- for name in pillar.backup.schedule %}

Start the timer of {{ name }}:
  service.running:
    - name: fanatico-backup-{{ name }}.timer
    - enable: True
    - require:
      - module: Load the units of the backups
    - watch:
      - file: Configure the units of the backups
{%- endfor %}

{%- set s3 = salt["fanatico_backup.repositories"]().get("s3") %}
{%- set of_s3 = ["full", "diff", "incr", "verify"] %}
{%- if s3 %}
{%-   for name in of_s3 %}

Start the timer of {{ name }} in S3:
  service.running:
    - name: fanatico-backup-s3-{{ name }}.timer
    - enable: True
    - require:
      - module: Load the units of the backups
    - watch:
      - file: Configure the units of the backups
{%-   endfor %}

Send WAL to S3:
  service.running:
    - name: fanatico-backup-s3-wal.service
    - enable: True
    - require:
      - pkg: Install zstd
      - fanatico_backup: Prepare the repository in S3 for this cluster
    - watch:
      - file: Configure the units of the backups
      - file: Install the program that sends WAL to S3
      - file: Configure the repository in S3
{%- else %}

Stop sending WAL to S3:
  service.dead:
    - name: fanatico-backup-s3-wal.service
    - enable: False
    - require_in:
      - file: Remove the repository in S3
{%-   for name in of_s3 %}

Stop the timer of {{ name }} in S3:
  service.dead:
    - name: fanatico-backup-s3-{{ name }}.timer
    - enable: False
    - require_in:
      - file: Remove the repository in S3
{%-   endfor %}

# The keys too. What is in the bucket stays.
Remove the repository in S3:
  file.absent:
    - names:
      - /etc/pgbackrest/conf.d/s3.conf
      - /etc/pgbackrest/s3-ca.crt
      - /etc/systemd/system/fanatico-backup-s3@.service
      - /etc/systemd/system/fanatico-backup-s3-verify.service
      - /etc/systemd/system/fanatico-backup-s3-wal.service
{%-   for name in of_s3 %}
      - /etc/systemd/system/fanatico-backup-s3-{{ name }}.timer
{%-   endfor %}
{%- endif %}

# The primary has to run. On a first deploy the databases come before this host.
Prepare the repository for this cluster:
  fanatico_backup.repository_present:
    - name: {{ pillar.backup.path }}
    - require:
      - fanatico_backup: Mark the repository
      - service: Start pgBackRest
      - module: Load the units of the backups
{%- if s3 %}

Prepare the repository in S3 for this cluster:
  fanatico_backup.repository_present:
    - name: {{ pillar.backup.s3.bucket }}
    - repository: s3
    - require:
      - fanatico_backup: Prepare the repository for this cluster
      - file: Configure the repository in S3
{%- endif %}
