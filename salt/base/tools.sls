# For the person on call. No other state needs them.
{%- set base = pillar.base %}
{%- if base.tools %}
include:
  - base.installed

Tools for people are installed:
  pkg.installed:
    - pkgs: {{ base.tools | json }}
    - install_recommends: False
    - require:
      - file: Packages do not start our services
{%- endif %}
