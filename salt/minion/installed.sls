{%- set minion = pillar.minion %}
{%- set install = minion.install %}
{%- set hash = ["--wheels-sha256=" ~ install.wheels_sha256] if install.wheels_sha256 else [] %}
{%- set options = hash + ["--no-index", "--find-links=" ~ install.wheels] if install.wheels else
                  ["--index-url=" ~ install.index_url] if install.index_url else [] %}

{%- if not grains.pythonexecutable.startswith("/opt/salt/") %}
# A bare host: this state is run by the system's own Python.
Install the packages that installing Salt needs:
  pkg.installed:
    - pkgs: {{ (minion.packages + ([] if install.wheels else install.build_packages)) | json }}
    - install_recommends: False
    - require_in:
      - cmd: Install Salt from the lock file
{%- endif %}

Write the lock file of Salt's packages:
  file.managed:
    - name: /opt/salt/requirements.txt
    - source: salt://minion/files/requirements.txt
    - makedirs: True
    - show_changes: False

Install Salt from the lock file:
  cmd.script:
    - name: salt://minion/files/install.py
    - args: /opt/salt/requirements.txt {{ options | join(" ") }}
    - onchanges:
      - file: Write the lock file of Salt's packages
