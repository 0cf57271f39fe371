"""
What is to be said of an etcd member, judged from what it and its peers answered. No I/O.
"""

import fanatico_etcd_plan
import fanatico_etcd_users
import fanatico_verdict


def member(facts, me, quota):
    """Return the checks for what the members said; ``quota`` is the limit of the database, in bytes."""
    mine, health = facts["status"][me], facts.get("health")
    found = {"etcd.quorum": _quorum(facts["status"])}
    journal = "systemctl status etcd; journalctl -u etcd -n 50"
    if "error" in mine or health is None:
        reason = mine.get("error") or facts["errors"]["health"]
        return {"etcd.serving": fanatico_verdict.critical(None, reason, journal), **found}
    if health["healthy"]:
        found["etcd.serving"] = fanatico_verdict.ok(
            mine["version"], f"etcd {mine['version']} takes reads and writes"
        )
    else:
        found["etcd.serving"] = fanatico_verdict.critical(
            mine["version"], f"etcd says it is not healthy: {health['reason'] or 'no reason given'}", journal
        )
    found["etcd.member"] = _listed(facts, me)
    alarms = [alarm.get("alarm", "?") for alarm in facts.get("alarms", [])]
    if alarms:
        found["etcd.alarms"] = fanatico_verdict.critical(
            alarms,
            f"alarm {', '.join(sorted(set(alarms)))}: no more writes are taken",
            "NOSPACE: compact, defragment, then `etcdctl alarm disarm`. CORRUPT: replace the member named",
        )
    elif "alarms" in facts:
        found["etcd.alarms"] = fanatico_verdict.ok([], "no alarm")
    used = round(100 * mine["db_size"] / quota)
    size = f"{mine['db_size'] / 1024**2:.1f} MiB of {quota / 1024**2:.0f} ({used} %)"
    if used >= 80:
        hint = "etcdctl compact and defrag; see what fills it: fanatico_etcd.keys /"
        found["etcd.space"] = fanatico_verdict.degraded(used, size, hint)
    else:
        found["etcd.space"] = fanatico_verdict.ok(used, size)
    return found


def _quorum(statuses):
    """Return the check of the majority: how many members answer, and do they agree on a leader."""
    missing = sorted(name for name, one in statuses.items() if "error" in one)
    total, answering = len(statuses), len(statuses) - len(missing)
    value, now = f"{answering}/{total}", fanatico_etcd_plan.leader_of(statuses)
    where = f"no answer from {', '.join(missing)}" if missing else "all members answer"
    hint = f"salt -L {','.join(missing)} fanatico_etcd.local_state" if missing else ""
    if answering <= total // 2:
        return fanatico_verdict.critical(value, f"no quorum: {where}", hint)
    if now is None:
        return fanatico_verdict.critical(
            value, f"the members agree on no leader; {where}", "journalctl -u etcd -n 50"
        )
    if missing:
        return fanatico_verdict.degraded(value, f"{where}; {now} leads", hint)
    return fanatico_verdict.ok(value, f"{where}; {now} leads")


def _listed(facts, me):
    """Return the check of the member list: this node votes in it, and nobody is in it by mistake."""
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
    strangers = [name for name in names if name not in facts["status"]]
    if strangers:
        return fanatico_verdict.degraded(
            names,
            f"members that are not in the plan: {', '.join(strangers)}",
            f"salt-call fanatico_etcd.member_remove {strangers[0]}",
        )
    idle = [name for name in facts["status"] if not listed.get(name, {}).get("started")]
    if idle:
        return fanatico_verdict.degraded(
            names, f"not a started member: {', '.join(idle)}", f"salt {idle[0]} fanatico_etcd.local_state"
        )
    return fanatico_verdict.ok(names, f"members: {', '.join(names)}")


def users(seen, kept):
    """Return the check of who is let in; a role may be one of a user that is kept, so of roles the state alone judges then."""
    users, roles = fanatico_etcd_users.unknown(seen, kept)
    strange = users + [f"role {role}" for role in roles if not kept]
    if not strange:
        return fanatico_verdict.ok(sorted(seen["users"]), "etcd lets in its users alone")
    names = fanatico_etcd_users.printable(strange)
    return fanatico_verdict.degraded(
        names,
        f"etcd lets in who is neither ours nor named in etcd:users: {names}",
        """salt-run state.orchestrate orch.rotate_secrets pillar='{"rotate": ["ETCD_ROOT_PASSWORD"]}' removes them""",
    )
