# Accepts a restore: what a person looked at serves, and the data of before is deleted. After an
# interruption, run it again.
#
#   salt-run state.orchestrate orch.restore_accept
{{ salt["fanatico_orch.restore_accept"](salt["saltutil.runner"]("fanatico.restore_open", arg=["accept", pillar.get("discard", [])])) }}
