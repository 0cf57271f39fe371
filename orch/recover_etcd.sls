# Rebuilds etcd after it has lost the data of most of its members, while PostgreSQL runs (writes continue in failsafe mode) or is
# down: first with no clients, then with the primary alone, which writes Patroni's state to it, then with all. After an
# interruption, run it again. The steps are in _runners/_utils/fanatico_recover.py.
#
#   salt-run state.orchestrate orch.recover_etcd
#   salt-run state.orchestrate orch.recover_etcd pillar='{"discard": ["etcd2"]}'      (its data is given up)
{{ salt["fanatico_orch.recover_etcd"](salt["saltutil.runner"]("fanatico.recover_scope", arg=[pillar.get("discard", [])])) }}
