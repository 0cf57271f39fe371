"""
Health checks of a chain node, from the responses of the node and its peers. No I/O.
"""

import fanatico_verdict

STALL = 15  # block times without a new block


def member(facts, settings, me, now):
    """
    Return the checks of the chain node ``me``, ``{name: check}``.

    facts
        What ``fanatico_rpc.probe`` collected.
    settings
        ``{"chain_id", "max_lag" (blocks), "block_time" (seconds)}``.
    me
        The node's id.
    now
        The time in seconds since 1970.
    """
    found = {}
    if facts.get("websocket"):
        found["rpc.websocket"] = fanatico_verdict.ok(True, "the WebSocket handshake succeeds")
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
            f"this node is on chain {local['chain_id']}, the pillar has {wanted} (rpc:chain:id)",
            "salt-call state.apply rpc",
        )
    else:
        found["rpc.http"] = fanatico_verdict.ok(local["chain_id"], f"answers for chain {local['chain_id']}")
    best = max(facts["peers"].values(), default=local["head"])
    lag = max(0, best - local["head"])
    if local["syncing"]:
        found["rpc.sync"] = fanatico_verdict.critical(
            lag,
            f"syncing: block {local['head']}, peers at {best}",
            "wait, or check its log: journalctl -u fanatico-rpc -n 50",
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
            f"the newest block is {age} s old, expected every {settings['block_time']} s",
            "salt 'rpc*' fanatico_rpc.head; if all nodes are stalled, the chain itself has halted",
        )
    else:
        found["rpc.head"] = fanatico_verdict.ok(local["head"], f"the newest block is {age} s old")
    return found


def _rotation(facts, me):
    """Return the check of the rotation; never critical, because the cause has its own check."""
    rotation = facts.get("rotation")
    if rotation is None:
        return fanatico_verdict.degraded(
            None, facts["errors"]["rotation"], "systemctl status fanatico-rpc-agent"
        )
    if rotation["drained"]:
        return fanatico_verdict.degraded(False, rotation["why"], f"salt-run fanatico.undrain {me}")
    if not rotation["ready"]:
        return fanatico_verdict.degraded(
            False, f"out of rotation: {rotation['why']}", "journalctl -u fanatico-rpc -n 50"
        )
    return fanatico_verdict.ok(True, "in rotation: HAProxy sends requests")
