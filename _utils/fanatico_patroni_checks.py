"""
What is to be said of Patroni on a node, judged from what it answered. No I/O.
"""

import fanatico_verdict

RUNNING = ("running", "streaming")
DOWN = ("start failed", "restart failed", "crashed", "stopped")
MAX_LAG = 16 * 1024**2  # bytes a replica may be behind


def leader_of(view):
    """Return the leader in the view that ``/cluster`` gives, or None."""
    roles = ("leader", "standby_leader")
    return next((member["name"] for member in view.get("members", []) if member.get("role") in roles), None)


def healthy_states(member):
    """Return the states in which ``member`` does its part: a replica has to stream."""
    return RUNNING if member and member.get("role") in ("leader", "standby_leader") else ("streaming",)


def describe(view):
    """Return a cluster view in one line."""
    members = [f"{one['name']} {one.get('role')} {one.get('state')}" for one in view.get("members", [])]
    return ", ".join(members) or "no member yet"


def member(facts, me, expected, now, ttl):
    """
    Return the checks for what Patroni on ``me`` said.

    ``expected`` are the members the plan has, ``now`` the time in seconds since 1970, ``ttl`` seconds.
    """
    own, errors = facts.get("patroni"), facts["errors"]
    if not isinstance(own, dict) or "liveness" not in facts:
        reason = errors.get("patroni") or errors.get("liveness") or "no status in its answer"
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
        found["patroni.alive"] = fanatico_verdict.ok(own.get("patroni", {}).get("version"), "its loop runs")
    else:
        said = facts["liveness"]
        found["patroni.alive"] = fanatico_verdict.critical(
            None, f"its loop has not run for {ttl} s (/liveness says {said})", "systemctl restart patroni"
        )
    if "cluster" in facts:
        found.update(_cluster(facts["cluster"], expected))
    else:
        found["patroni.leader"] = fanatico_verdict.critical(
            None, errors["cluster"], "salt 'etcd*' fanatico.health"
        )
    found["patroni.pause"] = fanatico_verdict.ok(False, "it acts by itself")
    if own.get("pause"):
        hint = f"salt {me} fanatico_patroni.resume"
        found["patroni.pause"] = fanatico_verdict.degraded(True, "paused: nothing fails over", hint)
    found["patroni.restart"] = fanatico_verdict.ok(False, "no restart is due")
    if own.get("pending_restart"):
        detail = "PostgreSQL has to be restarted for a changed setting to hold"
        found["patroni.restart"] = fanatico_verdict.degraded(
            True, detail, f"salt {me} fanatico_patroni.restart pending=True"
        )
    if "watchdog" in facts:
        found["patroni.watchdog"] = _watchdog(own, facts["watchdog"])
    if facts.get("aside"):
        detail = f"{', '.join(facts['aside'])}: what a cure replaced, whose end was not proven"
        hint = f"once {me} streams: salt {me} fanatico_cure.forget replica-unusable"
        found["patroni.aside"] = fanatico_verdict.degraded(facts["aside"], detail, hint)
    return found


def _watchdog(own, watchdog):
    """Return the check of a watchdog that is required: a primary has it armed, a replica could arm it."""
    armed, why = watchdog["armed"], watchdog["why"]
    if not armed and own.get("watchdog_failed"):
        why = why or "Patroni may not write to it"
    if why:
        hint = "patroni:watchdog_module in pillar/patroni.sls; journalctl -u patroni -n 50"
        return fanatico_verdict.degraded(armed, f"required, and this member cannot lead: {why}", hint)
    if own.get("role") in ("master", "primary") and not armed:
        return fanatico_verdict.degraded(
            False, "the primary runs without its watchdog", "it is off while Patroni is paused"
        )
    return fanatico_verdict.ok(armed, "armed: this host is reset if its Patroni hangs" if armed else "ready")


def _state(own, complaint):
    """Return the check of this node's own PostgreSQL, as its Patroni sees it, with the cause that PostgreSQL itself gave."""
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
            "journalctl -u patroni -n 50; salt-call fanatico_patroni.reinitialize clones it again",
        )
    return fanatico_verdict.ok(f"{role} {replication or state}", f"{role}, {replication or state}")


def _etcd(own, now, ttl):
    """Return the check of Patroni's way to etcd."""
    seen = own.get("dcs_last_seen")
    if seen is None:
        return fanatico_verdict.unknown(None, "Patroni does not say when it last saw etcd")
    age = max(0, round(now - seen))
    judge, hint = (
        (fanatico_verdict.degraded, "salt 'etcd*' fanatico.health")
        if age >= ttl
        else (fanatico_verdict.ok, "")
    )
    return judge(age, f"etcd was last seen {age} s ago", hint)


def _cluster(view, expected):
    """Return the checks of leader, members, lag and timeline, for the view ``/cluster`` gives."""
    members = {one["name"]: one for one in view["members"]}
    found = {"patroni.leader": fanatico_verdict.ok(leader_of(view), f"{leader_of(view)} leads")}
    if leader_of(view) is None:
        hint = "salt 'db*' fanatico_patroni.status; salt 'etcd*' fanatico.health"
        found["patroni.leader"] = fanatico_verdict.critical(None, "no leader holds the lock", hint)

    poor = {
        name: members[name].get("state", "unknown") if name in members else "missing"
        for name in expected
        if name not in members or members[name].get("state") not in healthy_states(members[name])
    }
    found["patroni.members"] = fanatico_verdict.ok([], f"{', '.join(expected)} run and stream")
    if poor:
        detail = ", ".join(f"{name} is {state}" for name, state in poor.items())
        found["patroni.members"] = fanatico_verdict.degraded(
            sorted(poor), detail, f"salt -L {','.join(poor)} fanatico.health"
        )

    lags = {name: one["lag"] for name, one in members.items() if isinstance(one.get("lag"), int)}
    slowest = max(lags, key=lambda name: lags[name], default=None)
    lag = lags.get(slowest, 0)
    found["patroni.lag"] = fanatico_verdict.ok(lag, f"at most {lag} bytes behind")
    if lag > MAX_LAG:
        detail = f"{slowest} is {lag / 1024**2:.0f} MiB behind"
        found["patroni.lag"] = fanatico_verdict.degraded(lag, detail, f"salt {slowest} fanatico.health")

    timelines = {name: one["timeline"] for name, one in members.items() if one.get("timeline")}
    newest = max(timelines.values(), default=None)
    old = sorted(name for name, timeline in timelines.items() if timeline != newest)
    found["patroni.timeline"] = fanatico_verdict.ok(newest, f"all on timeline {newest}")
    if old:
        found["patroni.timeline"] = fanatico_verdict.degraded(
            newest,
            f"{', '.join(old)} not on timeline {newest}",
            f"wait a moment; then salt {old[0]} fanatico_patroni.reinitialize clones it again",
        )
    return found
