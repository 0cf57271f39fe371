# Restores the whole cluster in place to a moment of the past. The data of before is kept until orch.restore_accept or
# orch.restore_undo. After an interruption, run it again: it goes on. The steps are in _runners/_utils/fanatico_restore_steps.py.
#
#   salt-run state.orchestrate orch.restore pillar='{"target": "2026-11-28 12:00:00+00"}'
#   salt-run state.orchestrate orch.restore pillar='{"target": "2026-11-28 12:00:00+00", "look": true}'     (look first)
#   salt-run state.orchestrate orch.restore pillar='{"target": "latest", "discard": ["db2"]}'               (db2 is lost)
{%- set wanted = {"target": pillar.get("target", ""), "look": pillar.get("look", False)} %}
{%- do wanted.update({"discard": pillar.get("discard", []), "host": pillar.get("host", "")}) %}
{{ salt["fanatico_orch.restore"](salt["saltutil.runner"]("fanatico.restore_scope", kwarg=wanted)) }}
