"""
Health checks of Patroni on a node, from its responses. No I/O.
"""

import fanatico_etcd_checks
import fanatico_verdict

RUNNING = ("running", "streaming")
DOWN = ("start failed", "restart failed", "crashed", "stopped")
MAX_LAG = 16 * 1024**2  # bytes of replication lag


def leader_of(view):
    """Return the leader in a response to ``/cluster``, or None."""
    roles = ("leader", "standby_leader")
    return next((member["name"] for member in view.get("members", []) if member.get("role") in roles), None)


def healthy_states(member):
    """Return the healthy states of ``member``, an entry of ``/cluster`` or None: a replica must stream."""
    return RUNNING if member and member.get("role") in ("leader", "standby_leader") else ("streaming",)


def candidates(view):
    """Return the replicas that can become leader by a switchover: they stream, and are synchronous where any replica is."""
    fit = [
        member
        for member in view.get("members", [])
        if member.get("role") not in ("leader", "standby_leader")
        and member.get("state") in healthy_states(member)
        and not member.get("tags", {}).get("nofailover")
    ]
    synchronous = [member for member in fit if member.get("role") in ("sync_standby", "quorum_standby")]
    return [member["name"] for member in synchronous or fit]


def describe(view):
    """Return a response to ``/cluster`` as one line of text."""
    members = [
        f"{member['name']} {member.get('role')} {member.get('state')}" for member in view.get("members", [])
    ]
    return ", ".join(members) or "no member yet"


def member(facts, me, expected, now, ttl):
    """
    Return the checks of Patroni on ``me``, ``{name: check}``.

    facts
        What ``fanatico_patroni.probe`` collected.
    me
        The node's id.
    expected
        The Patroni nodes of the plan.
    now
        The time in seconds since 1970.
    ttl
        Patroni's ``ttl`` in seconds.
    """
    own, errors = facts.get("patroni"), facts["errors"]
    if not isinstance(own, dict) or "liveness" not in facts:
        reason = errors.get("patroni") or errors.get("liveness") or "no status in its response"
        return {
            "patroni.alive": fanatico_verdict.critical(
                None, reason, "systemctl status patroni; journalctl -u patroni -n 50"
            )
        }
    found = {
        "patroni.state": _state(own, facts.get("complaint")),
        "patroni.etcd": _etcd(own, now, ttl),
    }
    if facts["liveness"] == 200:
        found["patroni.alive"] = fanatico_verdict.ok(
            own.get("patroni", {}).get("version"), "its loop is running"
        )
    else:
        status = facts["liveness"]
        found["patroni.alive"] = fanatico_verdict.critical(
            None, f"its loop has not run for {ttl} s (/liveness: HTTP {status})", "systemctl restart patroni"
        )
    if "cluster" in facts:
        found.update(_cluster(facts["cluster"], expected))
    else:
        found["patroni.leader"] = fanatico_verdict.critical(
            None, errors["cluster"], "salt 'etcd*' fanatico.health"
        )
    found["patroni.pause"] = fanatico_verdict.ok(False, "not paused, automatic failover enabled")
    if own.get("pause"):
        hint = f"salt {me} fanatico_patroni.resume"
        found["patroni.pause"] = fanatico_verdict.degraded(True, "paused, automatic failover disabled", hint)
    found["patroni.restart"] = fanatico_verdict.ok(False, "no restart pending")
    if own.get("pending_restart"):
        detail = "PostgreSQL must be restarted to apply a changed setting"
        found["patroni.restart"] = fanatico_verdict.degraded(
            True, detail, f"salt {me} fanatico_patroni.restart pending=True"
        )
    if "watchdog" in facts:
        found["patroni.watchdog"] = _watchdog(own, facts["watchdog"])
    if facts.get("aside"):
        detail = f"{', '.join(facts['aside'])}: old data that a cure replaced, kept because the cure was not verified"
        hint = f"if {me} streams, delete it: salt {me} fanatico_cure.forget replica-unusable"
        found["patroni.aside"] = fanatico_verdict.degraded(facts["aside"], detail, hint)
    return found


def _watchdog(own, watchdog):
    """Return the check of a required watchdog: armed on a primary, available on a replica."""
    armed, why = watchdog["armed"], watchdog["why"]
    if not armed and own.get("watchdog_failed"):
        why = why or "Patroni cannot write to the device"
    if why:
        hint = "patroni:watchdog_module in pillar/patroni.sls; journalctl -u patroni -n 50"
        return fanatico_verdict.degraded(
            armed, f"required but not usable, so this member cannot become leader: {why}", hint
        )
    if own.get("role") in ("master", "primary") and not armed:
        return fanatico_verdict.degraded(
            False,
            "the primary runs without its watchdog",
            "Patroni disables it during a pause; journalctl -u patroni -n 50",
        )
    return fanatico_verdict.ok(armed, "armed: resets this host if Patroni hangs" if armed else "ready")


def _state(own, complaint):
    """Return the check of this node's PostgreSQL, as reported by Patroni, with the cause from PostgreSQL's log."""
    role, state = own.get("role", "unknown"), own.get("state", "unknown")
    if state != "running":
        why = f": {complaint}" if complaint else ""
        return fanatico_verdict.critical(
            f"{role} {state}", f"PostgreSQL is {state}{why}", "journalctl -u patroni -n 50"
        )
    replication = own.get("replication_state")
    if role == "replica" and replication != "streaming":
        return fanatico_verdict.degraded(
            f"replica {replication or 'not streaming'}",
            f"this replica does not stream ({replication or 'no connection to the primary'})",
            "journalctl -u patroni -n 50; to clone it again: salt-call fanatico_patroni.reinitialize",
        )
    return fanatico_verdict.ok(f"{role} {replication or state}", f"{role}, {replication or state}")


def _etcd(own, now, ttl):
    """Return the check of Patroni's connection to etcd."""
    seen = own.get("dcs_last_seen")
    if seen is None:
        return fanatico_verdict.unknown(None, "Patroni does not report dcs_last_seen")
    age = max(0, round(now - seen))
    judge, hint = (
        (
            fanatico_verdict.degraded,
            "salt 'etcd*' fanatico.health; if etcd is healthy: " + fanatico_etcd_checks.RECOVER,
        )
        if age >= ttl
        else (fanatico_verdict.ok, "")
    )
    return judge(age, f"last contact with etcd {age} s ago", hint)


def _cluster(view, expected):
    """Return the checks of leader, members, lag and timeline from a response to ``/cluster``."""
    members = {member["name"]: member for member in view["members"]}
    found = {"patroni.leader": fanatico_verdict.ok(leader_of(view), f"leader is {leader_of(view)}")}
    if leader_of(view) is None:
        hint = "salt 'db*' fanatico_patroni.status; salt 'etcd*' fanatico.health"
        found["patroni.leader"] = fanatico_verdict.critical(
            None, "no leader: no member holds the leader lock", hint
        )

    poor = {
        name: members[name].get("state", "unknown") if name in members else "missing"
        for name in expected
        if name not in members or members[name].get("state") not in healthy_states(members[name])
    }
    found["patroni.members"] = fanatico_verdict.ok([], f"running or streaming: {', '.join(expected)}")
    if poor:
        detail = ", ".join(f"{name} is {state}" for name, state in poor.items())
        found["patroni.members"] = fanatico_verdict.degraded(
            sorted(poor), detail, f"salt -L {','.join(poor)} fanatico.health"
        )

    lags = {name: member["lag"] for name, member in members.items() if isinstance(member.get("lag"), int)}
    slowest = max(lags, key=lambda name: lags[name], default=None)
    lag = lags.get(slowest, 0)
    found["patroni.lag"] = fanatico_verdict.ok(lag, f"at most {lag} bytes behind")
    if lag > MAX_LAG:
        detail = f"{slowest} is {lag / 1024**2:.0f} MiB behind"
        found["patroni.lag"] = fanatico_verdict.degraded(lag, detail, f"salt {slowest} fanatico.health")

    timelines = {name: member["timeline"] for name, member in members.items() if member.get("timeline")}
    newest = max(timelines.values(), default=None)
    old = sorted(name for name, timeline in timelines.items() if timeline != newest)
    found["patroni.timeline"] = fanatico_verdict.ok(newest, f"all on timeline {newest}")
    if old:
        found["patroni.timeline"] = fanatico_verdict.degraded(
            newest,
            f"{', '.join(old)} not on timeline {newest}",
            f"if it persists, clone it again: salt {old[0]} fanatico_patroni.reinitialize",
        )
    return found
