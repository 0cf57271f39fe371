{%- set base = pillar.base %}

{%- if grains.nodename != grains.id %}

The machine is called {{ grains.id }}:
  cmd.run:
    - name: hostname {{ grains.id }}
{%- endif %}

The machine keeps its name:
  file.managed:
    - name: /etc/hostname
    - contents: {{ grains.id }}

All nodes of the plan are known by name:
  file.blockreplace:
    - name: /etc/hosts
    - source: salt://base/files/hosts.jinja
    - template: jinja
    - marker_start: "# the plan, managed by Salt (salt/base)"
    - marker_end: "# the plan ends here"
    - append_if_not_found: True

Kernel settings are written down:
  file.managed:
    - name: /etc/sysctl.d/60-fanatico.conf
    - source: salt://base/files/sysctl.conf.jinja
    - template: jinja

# systemd's own tool: it passes over what a container must not set.
Kernel settings are in force:
  cmd.run:
    - name: /usr/lib/systemd/systemd-sysctl /etc/sysctl.d/60-fanatico.conf
    - onchanges:
      - file: Kernel settings are written down

The journal leaves room on the disk:
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
      - file: The journal leaves room on the disk

{#- A container's clock is its host's: there is nothing to install and nothing that could set it. #}
{%- if not salt["fanatico_node.in_container"]() %}

The clock is kept right:
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
      - pkg: The clock is kept right
    - watch:
      - file: The clock is kept right
{%- endif %}
