"""
The checks of the whole cluster, judged from the reports of all nodes. Pure: reports go in, checks come out.

``reports`` is ``{id: what fanatico.report returned}``. A node that did not answer is not in it.
"""

import fanatico_etcd_checks
import fanatico_plan
import fanatico_verdict

CLOCKS = 2  # seconds that a node's clock may differ from the master's


def judge(plan, reports, sent, received):
    """
    Return the checks that need the reports of all nodes, ``{name: check}``.

    plan
        The dict under the pillar key ``plan``.
    reports
        ``{id: report}`` of the nodes that answered.
    sent, received
        When the request was sent and when the last answer arrived: epoch seconds by the master's clock.
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
        checks["virtual_ip"] = _virtual_ip(plan, _facts(reports, "keepalived"), silent)
        checks["balancers"] = _balancers(plan, reports)
    if fanatico_plan.nodes(plan, "rpc"):
        checks["chain"] = _chain(plan, _facts(reports, "rpc"))
    checks["clocks"] = _clocks(reports, sent, received)
    return checks


def leaders(reports):
    """Return the ids that Patroni reports as leader on the nodes that answered, the most frequent first."""
    named = [_leader(facts) for facts in _facts(reports, "patroni").values()]
    named = [name for name in named if name]
    return sorted(set(named), key=lambda name: -named.count(name))


def _facts(reports, component):
    """Return ``{id: facts}`` of a component, from the nodes that have it and could read its facts."""
    return {
        name: report["facts"][component]
        for name, report in reports.items()
        if component in report.get("facts", {})
    }


def _leader(facts):
    members = (facts.get("cluster") or {}).get("members", [])
    return next(
        (member["name"] for member in members if member.get("role") in ("leader", "standby_leader")), None
    )


def _nodes(reports, silent):
    """Every node answers, and its health is ok."""
    poor = sorted(name for name, report in reports.items() if report["health"]["status"] != "ok")
    if silent:
        detail = f"no answer from {', '.join(silent)}" + (f"; not ok: {', '.join(poor)}" if poor else "")
        hint = f"salt -L {','.join(silent)} test.ping; on each host: systemctl status salt-minion"
        return fanatico_verdict.degraded(len(reports), detail, hint)
    if poor:
        return fanatico_verdict.degraded(
            len(reports), f"not ok: {', '.join(poor)}", f"salt -L {','.join(poor)} fanatico.health"
        )
    return fanatico_verdict.ok(len(reports), f"all {len(reports)} answer and are ok")


def _etcd(plan, facts):
    """A majority of members serves, and all that answer report the same leader."""
    total = len(fanatico_plan.nodes(plan, "etcd"))
    serving = sorted(name for name, seen in facts.items() if (seen.get("health") or {}).get("healthy"))
    own = {name: seen["status"].get(name, {}) for name, seen in facts.items()}
    named = {own[name]["leader_id"] for name in serving if "leader_id" in own[name]} - {"0"}
    ids = {status["member_id"]: name for name, status in own.items() if "member_id" in status}
    leader = ids.get(next(iter(named), ""), "") if len(named) == 1 else ""
    hint = "salt 'etcd*' fanatico.health"
    if len(serving) <= total // 2:
        detail = (
            f"{len(serving)} of {total} members serve: no quorum, so no failover of PostgreSQL is possible"
        )
        lost = sorted(name for name, seen in facts.items() if seen.get("data") is False)
        if total - len(lost) <= total // 2:
            detail += f". The data of {', '.join(lost)} is lost: etcd has to be rebuilt"
            hint = fanatico_etcd_checks.RECOVER
        return fanatico_verdict.critical(leader, detail, hint)
    if any(seen.get("clients") is not None for seen in facts.values()):
        detail = "a recovery of etcd has not ended: its clients may not connect yet"
        return fanatico_verdict.critical(leader, detail, fanatico_etcd_checks.RECOVER)
    if len(named) != 1:
        return fanatico_verdict.critical(leader, f"the members report {len(named)} leaders", hint)
    detail = f"{len(serving)} of {total} members serve; leader: {leader or 'a member that does not answer'}"
    return (
        fanatico_verdict.ok(leader, detail)
        if len(serving) == total
        else fanatico_verdict.degraded(leader, detail, hint)
    )


def _primary(plan, reports, silent):
    """Exactly one node accepts writes, and it is the leader that Patroni reports."""
    sql = _facts(reports, "postgres")
    writable = sorted(name for name, seen in sql.items() if seen.get("in_recovery") is False)
    named = leaders(reports)
    hint = "salt 'db*' fanatico_patroni.status; salt 'db*' fanatico_postgres.status"
    held = [
        name for name, seen in _facts(reports, "patroni").items() if (seen.get("restore") or {}).get("held")
    ]
    if held and not writable:
        detail = f"no node accepts writes: a restore of the cluster has not ended (Patroni is held on {', '.join(held)})"
        return fanatico_verdict.critical([], detail, "salt-run fanatico.restore_state")
    if len(writable) > 1:
        return fanatico_verdict.critical(writable, *_split_brain(writable, named))
    if not writable:
        hidden = [name for name in named if name in silent]
        if hidden:
            detail = f"{hidden[0]} is the leader by Patroni's report, but does not answer the master"
            return fanatico_verdict.unknown(hidden, detail, f"salt {hidden[0]} fanatico.health")
        return fanatico_verdict.critical([], "no node accepts writes", hint)
    primary = writable[0]
    if named != [primary]:
        detail = f"{primary} accepts writes, but Patroni reports {' and '.join(named) or 'none'} as leader"
        return fanatico_verdict.degraded(writable, detail, hint)
    checks = reports[primary]["health"]["checks"]
    write = checks.get("postgres.write", {"status": "ok"})
    if write["status"] != "ok":
        detail = f"{primary}: {write['detail']}"
        return fanatico_verdict.check(write["status"], writable, detail, write["hint"])
    return fanatico_verdict.ok(writable, f"{primary} alone accepts writes")


def _split_brain(writable, named):
    """Return detail and hint for several nodes that accept writes; ``named``: the leaders that Patroni reports."""
    others = [name for name in writable if name != named[0]] if named[:1] and named[0] in writable else []
    detail = f"SPLIT-BRAIN: {' and '.join(writable)} {'both' if len(writable) == 2 else 'all'} accept writes"
    if others:
        stop = " and ".join(others)
        return f"{detail}. Stop Patroni on {stop}", f"salt -L {','.join(others)} service.stop patroni"
    hint = (
        f"salt -L {','.join(writable)} fanatico_postgres.status; then on the others: systemctl stop patroni"
    )
    return f"{detail}. Patroni reports none of them as leader: keep one, and stop Patroni on the others", hint


def _timeline(facts):
    """All nodes that run PostgreSQL are on one timeline."""
    reported = {name: (seen.get("patroni") or {}).get("timeline") for name, seen in facts.items()}
    own = {name: timeline for name, timeline in reported.items() if timeline}
    newest = max(own.values(), default=None)
    behind = sorted(name for name, timeline in own.items() if timeline != newest)
    if newest is None:
        return fanatico_verdict.unknown(None, "no node reports its timeline")
    if behind:
        hint = f"if it lasts more than a minute: salt {behind[0]} fanatico_patroni.reinitialize"
        return fanatico_verdict.degraded(newest, f"{', '.join(behind)} not on timeline {newest}", hint)
    return fanatico_verdict.ok(newest, f"one timeline, {newest}")


def _replicas(plan, facts, silent):
    """
    Every node but the leader streams, as the Patroni that knows most members reports it.

    Patroni reports a replica as streaming until its key in etcd expires. One whose host does not answer is not counted.
    """
    views = [seen["cluster"] for seen in facts.values() if seen.get("cluster")]
    if not views:
        return fanatico_verdict.unknown([], "no Patroni reports its cluster", "salt 'db*' fanatico.health")
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


def _virtual_ip(plan, facts, silent):
    """Exactly one balancer holds the virtual IP, and a HAProxy answers there."""
    address = plan["virtual_ip"]["address"]
    holders = sorted(name for name, seen in facts.items() if seen.get("role") == "master")
    hint = "salt 'haproxy*' fanatico_keepalived.state"
    if len(holders) > 1:
        detail = f"{' and '.join(holders)} hold the virtual IP {address} at the same time"
        return fanatico_verdict.critical(holders, detail, hint)
    answers = any(seen.get("answers") for seen in facts.values())
    if holders and answers:
        return fanatico_verdict.ok(holders, f"{holders[0]} holds {address}")
    if holders:
        return fanatico_verdict.critical(
            holders, f"{holders[0]} holds {address}, but no HAProxy answers there", hint
        )
    hidden = [name for name in fanatico_plan.nodes(plan, "haproxy") if name in silent]
    if answers and hidden:
        return fanatico_verdict.degraded(
            hidden, f"{address} answers; its holder, {' or '.join(hidden)}, does not answer the master", hint
        )
    return fanatico_verdict.critical([], f"no balancer holds the virtual IP {address}", hint)


def _balancers(plan, reports):
    """Every HAProxy sends writes to the leader that Patroni reports, and reads to the replicas."""
    named, wrong = leaders(reports), []
    members: list[dict] = max(
        ((seen.get("cluster") or {}).get("members", []) for seen in _facts(reports, "patroni").values()),
        key=len,
        default=[],
    )
    replicas = sorted(member["name"] for member in members if member.get("state") == "streaming")
    balancers = {name: seen for name, seen in _facts(reports, "haproxy").items() if "backends" in seen}
    for name, facts in balancers.items():
        for backend, wanted in (("postgres_primary", named[:1]), ("postgres_replica", replicas)):
            seen = sorted(facts["backends"].get(backend, {}).get("up", []))
            if seen != wanted and (wanted or backend == "postgres_primary"):
                wrong.append(
                    f"{name} sends {backend} to {', '.join(seen) or 'no node'}, "
                    f"Patroni reports {', '.join(wanted) or 'none'}"
                )
    hint = "salt 'haproxy*' fanatico_haproxy.backends"
    if not balancers:
        return fanatico_verdict.critical([], "no HAProxy answers", hint)
    if not named:
        return fanatico_verdict.unknown(sorted(balancers), "Patroni reports no leader to compare with", hint)
    if wrong:
        return fanatico_verdict.degraded(sorted(balancers), "; ".join(wrong), hint)
    return fanatico_verdict.ok(sorted(balancers), f"{', '.join(sorted(balancers))} agree with Patroni")


def _chain(plan, facts):
    """At least one node serves the chain, all serve the same chain, and no two differ in a block."""
    local = {name: seen["local"] for name, seen in facts.items() if seen.get("local")}
    hint = "salt 'rpc*' fanatico.health"
    if not local:
        return fanatico_verdict.critical(None, "no RPC node answers", hint)
    ids = {node["chain_id"] for node in local.values()}
    if len(ids) > 1:
        return fanatico_verdict.critical(
            sorted(ids), f"the RPC nodes are on chains {', '.join(map(str, sorted(ids)))}", hint
        )
    hashes: dict[int, dict[str, list[str]]] = {}
    for name, node in local.items():
        hashes.setdefault(node["head"], {}).setdefault(node.get("head_hash"), []).append(name)
    forked = next((number for number, by_hash in hashes.items() if len(by_hash) > 1), None)
    if forked is not None:
        sides = " against ".join(", ".join(sorted(names)) for names in hashes[forked].values())
        return fanatico_verdict.critical(forked, f"the chain has forked at block {forked}: {sides}", hint)
    head, total = max(node["head"] for node in local.values()), len(fanatico_plan.nodes(plan, "rpc"))
    detail = f"block {head} of chain {ids.pop()}, {len(local)} of {total} nodes answer"
    return (
        fanatico_verdict.ok(head, detail)
        if len(local) == total
        else fanatico_verdict.degraded(head, detail, hint)
    )


def _clocks(reports, sent, received):
    """The time in every report lies between the request and its answer, by the master's clock."""
    off = {}
    for name, report in reports.items():
        distance = max(sent - report["time"], report["time"] - received, 0)
        if distance > CLOCKS:
            off[name] = round(distance)
    if off:
        detail = ", ".join(f"{name} by {seconds} s" for name, seconds in sorted(off.items()))
        return fanatico_verdict.degraded(
            off, f"clocks differ from the master's: {detail}", "timedatectl, there and on the master"
        )
    return fanatico_verdict.ok(len(reports), f"all within {CLOCKS} s of the master's clock")
