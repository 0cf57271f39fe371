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

# The primary has to run. On a first deploy the databases come before this host.
Prepare the repository for this cluster:
  fanatico_backup.repository_present:
    - name: {{ pillar.backup.path }}
    - require:
      - file: Create the repository
      - service: Start pgBackRest
      - module: Load the units of the backups
