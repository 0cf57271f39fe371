# With patroni:watchdog "required": the device is given to postgres, and it is looked at before patroni.yml asks for it.
include:
  - patroni.installed

{%- set patroni = pillar.patroni %}
{%- set rule = "/etc/udev/rules.d/60-fanatico-watchdog.rules" %}
{%- set dropin = "/etc/systemd/system/patroni.service.d/watchdog.conf" %}
{%- if patroni.watchdog == "required" %}

Give postgres access to the watchdog:
  file.managed:
    - name: {{ rule }}
    - makedirs: True
    - contents: |
        # Managed by Salt (salt/patroni): Patroni opens it, and runs as postgres.
        SUBSYSTEM=="misc", KERNEL=="watchdog", OWNER="postgres", MODE="0600"
    - require:
      - pkg: Install PostgreSQL and Patroni
  cmd.run:
    - name: udevadm control --reload
    - onlyif: test -S /run/udev/control
    - onchanges:
      - file: Give postgres access to the watchdog
{%- if patroni.watchdog_module %}

# By name, so that no list of modules that udev leaves alone stands in the way.
Load the watchdog driver before Patroni starts:
  file.managed:
    - name: {{ dropin }}
    - makedirs: True
    - contents: |
        # Managed by Salt (salt/patroni).
        [Service]
        ExecStartPre=+-/usr/sbin/modprobe {{ patroni.watchdog_module }}
    - require_in:
      - fanatico_patroni: Check that Patroni can use the watchdog
  cmd.run:
    - name: modprobe {{ patroni.watchdog_module }}
    - unless: test -d /sys/module/{{ patroni.watchdog_module | replace("-", "_") }}
    - require:
      - cmd: Give postgres access to the watchdog
    - require_in:
      - fanatico_patroni: Check that Patroni can use the watchdog
{%- else %}

Load no watchdog driver:
  file.absent:
    - name: {{ dropin }}
{%- endif %}

Apply the access rule to the watchdog:
  cmd.run:
    - name: udevadm trigger --action=change --settle /sys/class/misc/watchdog
    - onlyif: test -e /sys/class/misc/watchdog -a -S /run/udev/control
    - unless: test "$(stat -c %U /dev/watchdog)" = postgres
    - require:
      - cmd: Give postgres access to the watchdog

Check that Patroni can use the watchdog:
  fanatico_patroni.watchdog_usable:
    - name: /dev/watchdog
    - require:
      - cmd: Apply the access rule to the watchdog
{%- else %}

Remove the watchdog settings:
  file.absent:
    - names:
      - {{ rule }}
      - {{ dropin }}
{%- endif %}
