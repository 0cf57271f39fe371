# Undoes a restore: the data of before serves again. What was written since is kept aside until orch.restore_accept. After an
# interruption, run it again.
#
#   salt-run state.orchestrate orch.restore_undo
{{ salt["fanatico_orch.restore_undo"](salt["saltutil.runner"]("fanatico.restore_open", arg=["undo", pillar.get("discard", [])])) }}
