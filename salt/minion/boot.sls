# A timer and not `startup_states`: these run at every start of the minion, without output, and before anything else is up.
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

# The same as `systemctl enable`, without starting its three processes. It takes effect at the next boot, which is enough.
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
