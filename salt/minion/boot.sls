# Why a timer and not `startup_states`: that one runs at every start of the minion, unseen, and before anything else is up.
{%- set minion = pillar.minion %}
include:
  - minion.configured

Highstate at boot has its unit:
  file.managed:
    - name: /etc/systemd/system/fanatico-boot.service
    - source: salt://minion/files/fanatico-boot.service

Highstate at boot has its time:
  file.managed:
    - name: /etc/systemd/system/fanatico-boot.timer
    - source: salt://minion/files/fanatico-boot.timer.jinja
    - template: jinja
    - context:
        delay: {{ minion.boot_delay }}
        jitter: {{ minion.boot_jitter }}

# What `systemctl enable` does, without its three processes: it counts from the next boot on, which is all it is for.
Highstate at boot is switched {{ "on" if minion.boot_highstate else "off" }}:
{%- if minion.boot_highstate %}
  file.symlink:
    - name: /etc/systemd/system/timers.target.wants/fanatico-boot.timer
    - target: /etc/systemd/system/fanatico-boot.timer
    - makedirs: True
    - require:
      - file: Highstate at boot has its unit
      - file: Highstate at boot has its time
{%- else %}
  file.absent:
    - name: /etc/systemd/system/timers.target.wants/fanatico-boot.timer
{%- endif %}
