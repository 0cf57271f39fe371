# Evicts a host that is lost, perhaps to an attacker: its key and the network first, then its leadership and memberships, then
# every secret and certificate that it knew. After an interruption, run it again: it does what is left, and repeats what it
# cannot prove to be done. The steps are in _runners/_utils/fanatico_evict_steps.py.
#
#   salt-run state.orchestrate orch.evict pillar='{"host": "db2"}'
{{ salt["fanatico_orch.evict"](salt["saltutil.runner"]("fanatico.evict_scope", arg=[pillar.get("host", "")])) }}
