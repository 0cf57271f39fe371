# For the person on call. No other state needs them.
{%- set base = pillar.base %}
{%- if base.tools %}
include:
  - base.installed

Install tools for operators:
  pkg.installed:
    - pkgs: {{ base.tools | json }}
    - install_recommends: False
    - require:
      - file: Prevent packages from starting our services
{%- endif %}
