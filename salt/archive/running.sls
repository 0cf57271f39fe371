include:
  - archive.configured
{%- if salt["fanatico_plan.nodes"]("backup") %}

# A restart costs nothing: the other side connects again.
Start pgBackRest:
  service.running:
    - name: pgbackrest
    - enable: True
    - watch:
      - file: Configure pgBackRest
      - file: Configure pgbackrest.service
{%- else %}

# No host has the role backup: nobody may connect.
Stop pgBackRest:
  service.dead:
    - name: pgbackrest
    - enable: False
    - require:
      - file: Configure pgBackRest
{%- endif %}
