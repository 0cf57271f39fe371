# Why a timer and not `startup_states`: that one runs at every start of the minion, unseen, and before anything else is up.
{%- set minion = pillar.minion %}
include:
  - minion.configured

Configure fanatico-boot.service:
  file.managed:
    - name: /etc/systemd/system/fanatico-boot.service
    - source: salt://minion/files/fanatico-boot.service

Configure fanatico-boot.timer:
  file.managed:
    - name: /etc/systemd/system/fanatico-boot.timer
    - source: salt://minion/files/fanatico-boot.timer.jinja
    - template: jinja
    - context:
        delay: {{ minion.boot_delay }}
        jitter: {{ minion.boot_jitter }}

# What `systemctl enable` does, without its three processes: it counts from the next boot on, which is all it is for.
{{ "Enable" if minion.boot_highstate else "Disable" }} the highstate at boot:
{%- if minion.boot_highstate %}
  file.symlink:
    - name: /etc/systemd/system/timers.target.wants/fanatico-boot.timer
    - target: /etc/systemd/system/fanatico-boot.timer
    - makedirs: True
    - require:
      - file: Configure fanatico-boot.service
      - file: Configure fanatico-boot.timer
{%- else %}
  file.absent:
    - name: /etc/systemd/system/timers.target.wants/fanatico-boot.timer
{%- endif %}
