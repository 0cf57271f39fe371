"""
Health checks of an etcd member, from the responses of the member and its peers. No I/O.
"""

import fanatico_etcd_plan
import fanatico_etcd_users
import fanatico_verdict

RECOVER = "salt-run state.orchestrate orch.recover_etcd"


def member(facts, me, quota):
    """
    Return the checks of the member ``me``, ``{name: check}``.

    facts
        ``{"status": {node: status}, "health", "members", "alarms", "errors", "data", "clients"}``, as ``fanatico_etcd.probe``
        collects them.
    me
        The node's id.
    quota
        The size limit of the database, in bytes.
    """
    mine, health = facts["status"][me], facts.get("health")
    found = {"etcd.quorum": _quorum(facts["status"])}
    if facts.get("clients") is not None:
        admitted = ", ".join(facts["clients"]) or "no database host"
        detail = f"a recovery of etcd has not ended: {admitted} may connect, the other hosts may not"
        found["etcd.clients"] = fanatico_verdict.degraded(facts["clients"], detail, RECOVER)
    journal = "systemctl status etcd; journalctl -u etcd -n 50"
    if "error" in mine or health is None:
        reason = mine.get("error") or facts["errors"]["health"]
        return {"etcd.serving": fanatico_verdict.critical(None, reason, journal), **found}
    if health["healthy"]:
        found["etcd.serving"] = fanatico_verdict.ok(
            mine["version"], f"etcd {mine['version']} serves reads and writes"
        )
    else:
        found["etcd.serving"] = fanatico_verdict.critical(
            mine["version"], f"etcd reports unhealthy: {health['reason'] or 'no reason given'}", journal
        )
    found["etcd.member"] = _listed(facts, me)
    alarms = [alarm.get("alarm", "?") for alarm in facts.get("alarms", [])]
    if alarms:
        found["etcd.alarms"] = fanatico_verdict.critical(
            alarms,
            f"alarm {', '.join(sorted(set(alarms)))}: etcd refuses writes",
            "NOSPACE: etcdctl compact and defrag, then etcdctl alarm disarm. CORRUPT: replace the named member",
        )
    elif "alarms" in facts:
        found["etcd.alarms"] = fanatico_verdict.ok([], "no alarm")
    used = round(100 * mine["db_size"] / quota)
    size = f"{mine['db_size'] / 1024**2:.1f} MiB of {quota / 1024**2:.0f} ({used} %)"
    if used >= 80:
        hint = f"etcdctl compact and defrag; to list the keys: salt {me} fanatico_etcd.keys /"
        found["etcd.space"] = fanatico_verdict.degraded(used, size, hint)
    else:
        found["etcd.space"] = fanatico_verdict.ok(used, size)
    return found


def _quorum(statuses):
    """Return the check of the quorum: how many members answer, and whether they agree on a leader."""
    missing = sorted(name for name, status in statuses.items() if "error" in status)
    total, answering = len(statuses), len(statuses) - len(missing)
    value, now = f"{answering}/{total}", fanatico_etcd_plan.leader_of(statuses)
    where = f"no answer from {', '.join(missing)}" if missing else "all members answer"
    hint = f"salt -L {','.join(missing)} fanatico_etcd.local_state" if missing else ""
    if answering <= total // 2:
        return fanatico_verdict.critical(value, f"no quorum: {where}", hint)
    if now is None:
        return fanatico_verdict.critical(
            value, f"no leader that all members agree on; {where}", "journalctl -u etcd -n 50"
        )
    if missing:
        return fanatico_verdict.degraded(value, f"{where}; leader is {now}", hint)
    return fanatico_verdict.ok(value, f"{where}; leader is {now}")


def _listed(facts, me):
    """Return the check of the member list: this node is a voter, and all members are in the plan."""
    if "members" not in facts:
        return fanatico_verdict.unknown(None, facts["errors"]["members"])
    listed = facts["members"]
    names = sorted(listed)
    if not listed.get(me, {}).get("started"):
        return fanatico_verdict.critical(
            names, f"{me} is not a started member", f"salt-call fanatico_etcd.member_add {me}"
        )
    if listed[me]["learner"]:
        return fanatico_verdict.degraded(
            names, f"{me} is a learner without a vote", f"salt-call fanatico_etcd.member_promote {me}"
        )
    unknown = [name for name in names if name not in facts["status"]]
    if unknown:
        return fanatico_verdict.degraded(
            names,
            f"members that are not in the plan: {', '.join(unknown)}",
            f"salt-call fanatico_etcd.member_remove {unknown[0]}",
        )
    idle = [name for name in facts["status"] if not listed.get(name, {}).get("started")]
    if idle:
        return fanatico_verdict.degraded(
            names,
            f"members that are not started: {', '.join(idle)}",
            f"salt {idle[0]} fanatico_etcd.local_state",
        )
    return fanatico_verdict.ok(names, f"members: {', '.join(names)}")


def users(seen, kept):
    """
    Return the check for unknown users and roles in etcd.

    With ``kept`` users roles are not judged here: one of them may hold the role, which only the state can see.
    """
    users, roles = fanatico_etcd_users.unknown(seen, kept)
    unknown = users + [f"role {role}" for role in roles if not kept]
    if not unknown:
        return fanatico_verdict.ok(sorted(seen["users"]), "etcd has only the expected users")
    names = fanatico_etcd_users.printable(unknown)
    return fanatico_verdict.degraded(
        names,
        f"unknown etcd users or roles, not in etcd:users of the pillar: {names}",
        """salt-run state.orchestrate orch.rotate_secrets pillar='{"rotate": ["ETCD_ROOT_PASSWORD"]}' removes them""",
    )
