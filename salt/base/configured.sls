{%- set base = pillar.base %}

{%- if grains.nodename != grains.id %}

Set the running host name to {{ grains.id }}:
  cmd.run:
    - name: hostname {{ grains.id }}
{%- endif %}

Write the host name to /etc/hostname:
  file.managed:
    - name: /etc/hostname
    - contents: {{ grains.id }}

Write all nodes of the plan to /etc/hosts:
  file.blockreplace:
    - name: /etc/hosts
    - source: salt://base/files/hosts.jinja
    - template: jinja
    - marker_start: "# the plan, managed by Salt (salt/base)"
    - marker_end: "# the plan ends here"
    - append_if_not_found: True

Configure kernel settings:
  file.managed:
    - name: /etc/sysctl.d/60-fanatico.conf
    - source: salt://base/files/sysctl.conf.jinja
    - template: jinja

# systemd's own tool: it passes over what a container must not set.
Load kernel settings:
  cmd.run:
    - name: /usr/lib/systemd/systemd-sysctl /etc/sysctl.d/60-fanatico.conf
    - onchanges:
      - file: Configure kernel settings

Limit the size of the journal:
  file.managed:
    - name: /etc/systemd/journald.conf.d/fanatico.conf
    - makedirs: True
    - contents: |
        # Managed by Salt (salt/base).
        [Journal]
        SystemMaxUse={{ base.journal_max_use }}
  cmd.run:
    - name: systemctl restart systemd-journald
    - onchanges:
      - file: Limit the size of the journal

{#- A container's clock is its host's: there is nothing to install and nothing that could set it. #}
{%- if not salt["fanatico_node.in_container"]() %}

Synchronize the clock:
  pkg.installed:
    - name: systemd-timesyncd
    - install_recommends: False
  file.managed:
    - name: /etc/systemd/timesyncd.conf.d/fanatico.conf
    - makedirs: True
    - contents: |
        # Managed by Salt (salt/base).
        [Time]
        NTP={{ base.time_servers | join(" ") }}
  service.running:
    - name: systemd-timesyncd
    - enable: True
    - require:
      - pkg: Synchronize the clock
    - watch:
      - file: Synchronize the clock
{%- endif %}
