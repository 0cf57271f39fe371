"""
What is to be said of a chain node, judged from what it and its peers answered. No I/O.
"""

import fanatico_verdict

STALL = 15  # block times without a new block


def member(facts, settings, me, now):
    """Return the checks for what the node and its peers said; ``now`` is the time in seconds since 1970."""
    found = {}
    if facts.get("websocket"):
        found["rpc.websocket"] = fanatico_verdict.ok(True, "the WebSocket port shakes hands")
    else:
        found["rpc.websocket"] = fanatico_verdict.critical(
            False, facts["errors"]["websocket"], "journalctl -u fanatico-rpc -n 50"
        )
    found["rpc.rotation"] = _rotation(facts, me)
    local = facts.get("local")
    if local is None:
        found["rpc.http"] = fanatico_verdict.critical(
            None, facts["errors"]["local"], "journalctl -u fanatico-rpc -n 50"
        )
        return found
    wanted = settings["chain_id"]
    if wanted is not None and local["chain_id"] != int(wanted):
        found["rpc.http"] = fanatico_verdict.critical(
            local["chain_id"],
            f"this node is on chain {local['chain_id']}, the plan's is {wanted}",
            "salt-call state.apply rpc",
        )
    else:
        found["rpc.http"] = fanatico_verdict.ok(local["chain_id"], f"answers for chain {local['chain_id']}")
    best = max(facts["peers"].values(), default=local["head"])
    lag = max(0, best - local["head"])
    if local["syncing"]:
        found["rpc.sync"] = fanatico_verdict.critical(
            lag, f"syncing: block {local['head']}, peers at {best}", "wait, or see its log"
        )
    elif lag > settings["max_lag"]:
        found["rpc.sync"] = fanatico_verdict.degraded(
            lag,
            f"block {local['head']} is {lag} behind the best peer's {best}",
            "journalctl -u fanatico-rpc -n 50",
        )
    else:
        found["rpc.sync"] = fanatico_verdict.ok(lag, f"block {local['head']}, {lag} behind the best peer")
    age = max(0, round(now - local["head_time"]))
    if age > STALL * settings["block_time"]:
        found["rpc.head"] = fanatico_verdict.degraded(
            local["head"],
            f"the newest block is {age} s old, one is due every {settings['block_time']} s",
            "salt 'rpc*' fanatico_rpc.head; if no node moves, the chain itself halts",
        )
    else:
        found["rpc.head"] = fanatico_verdict.ok(local["head"], f"the newest block is {age} s old")
    return found


def _rotation(facts, me):
    """Whether HAProxy sends this node requests; whatever keeps it out is a check of its own, so this one is never critical."""
    told = facts.get("rotation")
    if told is None:
        return fanatico_verdict.degraded(
            None, facts["errors"]["rotation"], "systemctl status fanatico-rpc-agent"
        )
    if told["drained"]:
        return fanatico_verdict.degraded(False, told["why"], f"salt-run fanatico.undrain {me}")
    if not told["ready"]:
        return fanatico_verdict.degraded(
            False, f"out of rotation: {told['why']}", "journalctl -u fanatico-rpc -n 50"
        )
    return fanatico_verdict.ok(True, "HAProxy sends it requests")
