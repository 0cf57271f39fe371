"""
The cluster as a whole, judged from what every node reports. Pure: reports go in, verdicts come out.

``reports`` is ``{id: what fanatico.report returned}``; a node that did not answer is not in it.
"""

import fanatico_plan
import fanatico_verdict

CLOCKS = 2  # seconds a node's clock may be off before anyone should care


def judge(plan, reports, sent, received):
    """
    Return the checks that only a view of all nodes allows, ``{name: check}``.

    plan
        The dict under the pillar key ``plan``.
    reports
        ``{id: report}`` of the nodes that answered.
    sent, received
        When the question went out and when the last answer was there, seconds since 1970 by the master's clock.
    """
    silent = [name for name in plan["nodes"] if name not in reports]
    checks = {"nodes": _nodes(reports, silent)}
    if fanatico_plan.nodes(plan, "etcd"):
        checks["etcd"] = _etcd(plan, _facts(reports, "etcd"))
    if fanatico_plan.nodes(plan, "patroni"):
        checks["primary"] = _primary(plan, reports, silent)
        checks["timeline"] = _timeline(_facts(reports, "patroni"))
        checks["replicas"] = _replicas(plan, _facts(reports, "patroni"), silent)
    if fanatico_plan.nodes(plan, "haproxy"):
        checks["address"] = _address(plan, _facts(reports, "keepalived"), silent)
        checks["balancers"] = _balancers(plan, reports)
    if fanatico_plan.nodes(plan, "rpc"):
        checks["chain"] = _chain(plan, _facts(reports, "rpc"))
    checks["clocks"] = _clocks(reports, sent, received)
    return checks


def leaders(reports):
    """Return the ids that the answering nodes' Patronis call leader, the most named first."""
    named = [_leader(facts) for facts in _facts(reports, "patroni").values()]
    named = [name for name in named if name]
    return sorted(set(named), key=lambda name: -named.count(name))


def _facts(reports, component):
    """Return ``{id: facts}`` of a component, from the nodes that have it and could look."""
    return {
        name: one["facts"][component] for name, one in reports.items() if component in one.get("facts", {})
    }


def _leader(facts):
    members = (facts.get("cluster") or {}).get("members", [])
    return next((one["name"] for one in members if one.get("role") in ("leader", "standby_leader")), None)


def _nodes(reports, silent):
    """Every node answers, and is well."""
    poor = sorted(name for name, one in reports.items() if one["health"]["status"] != "ok")
    if silent:
        detail = f"no answer from {', '.join(silent)}" + (f"; not well: {', '.join(poor)}" if poor else "")
        hint = f"are they up? salt -L {','.join(silent)} test.ping; systemctl status salt-minion there"
        return fanatico_verdict.degraded(len(reports), detail, hint)
    if poor:
        return fanatico_verdict.degraded(
            len(reports), f"not well: {', '.join(poor)}", f"salt -L {','.join(poor)} fanatico.health"
        )
    return fanatico_verdict.ok(len(reports), f"all {len(reports)} answer and are well")


def _etcd(plan, facts):
    """A majority serves, and whoever answers names the same leader."""
    total = len(fanatico_plan.nodes(plan, "etcd"))
    serving = sorted(name for name, one in facts.items() if (one.get("health") or {}).get("healthy"))
    own = {name: one["status"].get(name, {}) for name, one in facts.items()}
    named = {one["leader_id"] for name, one in own.items() if name in serving and "leader_id" in one} - {"0"}
    ids = {one["member_id"]: name for name, one in own.items() if "member_id" in one}
    leader = ids.get(next(iter(named), ""), "") if len(named) == 1 else ""
    hint = "salt 'etcd*' fanatico.health"
    if len(serving) <= total // 2:
        detail = f"{len(serving)} of {total} members serve: no quorum, so nobody can fail over"
        return fanatico_verdict.critical(leader, detail, hint)
    if len(named) != 1:
        return fanatico_verdict.critical(leader, f"the members name {len(named)} leaders", hint)
    detail = f"{len(serving)} of {total} members serve; {leader or 'a silent member'} leads"
    return (
        fanatico_verdict.ok(leader, detail)
        if len(serving) == total
        else fanatico_verdict.degraded(leader, detail, hint)
    )


def _primary(plan, reports, silent):
    """Exactly one node takes writes, and it is the one that Patroni calls leader."""
    sql = _facts(reports, "postgres")
    writable = sorted(name for name, one in sql.items() if one.get("in_recovery") is False)
    named = leaders(reports)
    hint = "salt 'db*' fanatico_patroni.status; salt 'db*' fanatico_postgres.status"
    if len(writable) > 1:
        detail = f"{' and '.join(writable)} both take writes: stop Patroni on all but {named[0] if named else 'one'}"
        return fanatico_verdict.critical(writable, detail, hint)
    if not writable:
        hidden = [name for name in named if name in silent]
        if hidden:
            detail = f"{hidden[0]} leads, says Patroni, and does not answer here"
            return fanatico_verdict.unknown(hidden, detail, f"salt {hidden[0]} fanatico.health")
        return fanatico_verdict.critical([], "no node takes writes", hint)
    one = writable[0]
    if named != [one]:
        detail = f"{one} takes writes, Patroni names {' and '.join(named) or 'no leader'}"
        return fanatico_verdict.degraded(writable, detail, hint)
    checks = reports[one]["health"]["checks"]
    write = checks.get("postgres.write", {"status": "ok"})
    if write["status"] != "ok":
        return fanatico_verdict.check(write["status"], writable, f"{one}: {write['detail']}", write["hint"])
    return fanatico_verdict.ok(writable, f"{one} alone takes writes")


def _timeline(facts):
    """Whoever runs PostgreSQL is on one timeline."""
    told = {name: (one.get("patroni") or {}).get("timeline") for name, one in facts.items()}
    own = {name: timeline for name, timeline in told.items() if timeline}
    newest = max(own.values(), default=None)
    behind = sorted(name for name, timeline in own.items() if timeline != newest)
    if newest is None:
        return fanatico_verdict.unknown(None, "no node says on which timeline it is")
    if behind:
        hint = f"wait a moment; then salt {behind[0]} fanatico_patroni.reinitialize clones it again"
        return fanatico_verdict.degraded(newest, f"{', '.join(behind)} not on timeline {newest}", hint)
    return fanatico_verdict.ok(newest, f"one timeline, {newest}")


def _replicas(plan, facts, silent):
    """
    Every node but the leader streams, as the Patroni that knows most members reports it.

    Patroni reports a replica as streaming until its key in etcd expires. One whose host does not answer is not counted.
    """
    views = [one["cluster"] for one in facts.values() if one.get("cluster")]
    if not views:
        return fanatico_verdict.unknown([], "no Patroni shows its cluster", "salt 'db*' fanatico.health")
    members = max((view["members"] for view in views), key=len)
    reported = sorted(member["name"] for member in members if member.get("state") == "streaming")
    streaming = [name for name in reported if name not in silent]
    lost = [name for name in reported if name in silent]
    required = len(fanatico_plan.nodes(plan, "patroni")) - 1
    detail = f"{len(streaming)} of {required} replicas stream"
    detail += f": {', '.join(streaming)}" if streaming else ""
    detail += f"; no answer from {', '.join(lost)}" if lost else ""
    if len(streaming) >= required:
        return fanatico_verdict.ok(streaming, detail)
    return fanatico_verdict.degraded(streaming, detail, "salt 'db*' fanatico.health")


def _address(plan, facts, silent):
    """Exactly one balancer holds the virtual IP, and a HAProxy answers there."""
    address = plan["virtual_ip"]["address"]
    holders = sorted(name for name, one in facts.items() if one.get("role") == "master")
    hint = "salt 'haproxy*' fanatico_keepalived.state"
    if len(holders) > 1:
        return fanatico_verdict.critical(holders, f"{' and '.join(holders)} both hold {address}", hint)
    answers = any(one.get("answers") for one in facts.values())
    if holders and answers:
        return fanatico_verdict.ok(holders, f"{holders[0]} holds {address}")
    if holders:
        return fanatico_verdict.critical(
            holders, f"{holders[0]} holds {address}, and no HAProxy answers there", hint
        )
    hidden = [name for name in fanatico_plan.nodes(plan, "haproxy") if name in silent]
    if answers and hidden:
        return fanatico_verdict.degraded(
            hidden, f"{address} answers; {' or '.join(hidden)} holds it, and is silent here", hint
        )
    return fanatico_verdict.critical([], f"nobody holds {address}", hint)


def _balancers(plan, reports):
    """Every HAProxy sends writes where Patroni says the primary is, and reads to the replicas."""
    named, wrong = leaders(reports), []
    members: list[dict] = max(
        ((one.get("cluster") or {}).get("members", []) for one in _facts(reports, "patroni").values()),
        key=len,
        default=[],
    )
    replicas = sorted(one["name"] for one in members if one.get("state") == "streaming")
    balancers = {name: one for name, one in _facts(reports, "haproxy").items() if "backends" in one}
    for name, one in balancers.items():
        for backend, wanted in (("postgres_primary", named[:1]), ("postgres_replica", replicas)):
            seen = sorted(one["backends"].get(backend, {}).get("up", []))
            if seen != wanted and (wanted or backend == "postgres_primary"):
                wrong.append(
                    f"{name} sends {backend} to {', '.join(seen) or 'nobody'}, "
                    f"Patroni says {', '.join(wanted) or 'nobody'}"
                )
    hint = "salt 'haproxy*' fanatico_haproxy.backends"
    if not balancers:
        return fanatico_verdict.critical([], "no HAProxy could be asked", hint)
    if not named:
        return fanatico_verdict.unknown(sorted(balancers), "Patroni names no leader to compare with", hint)
    if wrong:
        return fanatico_verdict.degraded(sorted(balancers), "; ".join(wrong), hint)
    return fanatico_verdict.ok(sorted(balancers), f"{', '.join(sorted(balancers))} see what Patroni sees")


def _chain(plan, facts):
    """Some node serves the chain, all of them the same one, and no two differ on a block."""
    local = {name: one["local"] for name, one in facts.items() if one.get("local")}
    hint = "salt 'rpc*' fanatico.health"
    if not local:
        return fanatico_verdict.critical(None, "no RPC node answers", hint)
    ids = {one["chain_id"] for one in local.values()}
    if len(ids) > 1:
        return fanatico_verdict.critical(
            sorted(ids), f"the RPC nodes are on chains {', '.join(map(str, sorted(ids)))}", hint
        )
    hashes: dict[int, dict[str, list[str]]] = {}
    for name, one in local.items():
        hashes.setdefault(one["head"], {}).setdefault(one.get("head_hash"), []).append(name)
    forked = next((number for number, by_hash in hashes.items() if len(by_hash) > 1), None)
    if forked is not None:
        sides = " against ".join(", ".join(sorted(names)) for names in hashes[forked].values())
        return fanatico_verdict.critical(forked, f"the chain has forked at block {forked}: {sides}", hint)
    head, total = max(one["head"] for one in local.values()), len(fanatico_plan.nodes(plan, "rpc"))
    detail = f"block {head} of chain {ids.pop()}, {len(local)} of {total} nodes answer"
    return (
        fanatico_verdict.ok(head, detail)
        if len(local) == total
        else fanatico_verdict.degraded(head, detail, hint)
    )


def _clocks(reports, sent, received):
    """No node's clock says that it answered before it was asked, or after the answer was there."""
    off = {}
    for name, one in reports.items():
        distance = max(sent - one["time"], one["time"] - received, 0)
        if distance > CLOCKS:
            off[name] = round(distance)
    if off:
        detail = ", ".join(f"{name} by {seconds} s" for name, seconds in sorted(off.items()))
        return fanatico_verdict.degraded(
            off, f"clocks that differ from the master's: {detail}", "timedatectl there and here"
        )
    return fanatico_verdict.ok(len(reports), f"all within {CLOCKS} s of the master's")
