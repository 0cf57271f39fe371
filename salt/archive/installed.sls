include:
  - base.installed

{%- set version = pillar.backup.version %}

Configure pgbackrest.service:
  file.managed:
    - name: /etc/systemd/system/pgbackrest.service.d/fanatico.conf
    - source: salt://archive/files/service.conf.jinja
    - template: jinja
    - makedirs: True

Keep the folder of pgBackRest's locks:
  file.managed:
    - name: /etc/tmpfiles.d/fanatico-pgbackrest.conf
    - contents: |
        # Managed by Salt (salt/archive).
        d /run/pgbackrest 0770 postgres postgres -

# It brings the user postgres, and no server.
Install pgBackRest:
  pkg.installed:
    - pkgs:
      - pgbackrest{{ ": " ~ (version | json) if version }}
    - install_recommends: False
    - require:
      - file: Prevent packages from starting our services
      - file: Configure pgbackrest.service

Create the folders of pgBackRest:
  file.directory:
    - names:
      - /run/pgbackrest
      - /var/log/pgbackrest
      - /var/spool/pgbackrest
    - user: postgres
    - group: postgres
    - mode: "0770"
    - require:
      - pkg: Install pgBackRest
