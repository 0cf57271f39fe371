"""
Decide what an etcd node must do about its membership. No I/O.

``live`` is the member list by node, as ``fanatico_etcd.members`` returns it. A member that never ran has no client URLs.
"""

import hashlib
import json
from typing import Any

CONFIGURATION = "/etc/etcd/etcd.conf.yml"
# The configuration of the one start that bootstraps or joins the cluster; the next boot deletes it.
FIRST_START = "/run/fanatico-etcd"

# (text in etcd's log, cause, next step)
_SIGNS = (
    (
        "cluster ID mismatch",
        "its data belongs to another etcd cluster",
        "if that data is not needed, stop etcd, empty its data directory and run the highstate again",
    ),
    (
        "has been permanently removed from the cluster",
        "its data belongs to a member that was removed from the cluster",
        "stop etcd, empty its data directory and run the highstate again: it joins as a new member",
    ),
    (
        "no space left on device",
        "the disk is full",
        "free space under the data directory; systemd then restarts etcd",
    ),
    (
        "address already in use",
        "another process uses one of its ports",
        "find the process: ss -ltnp",
    ),
    (
        "permission denied",
        "it cannot read or write its data directory",
        "chown the data directory to the user etcd and run the highstate again",
    ),
    (
        "data corruption",
        "its data differs from that of its peers",
        "stop etcd, empty its data directory and run the highstate again: it copies the data from its peers",
    ),
    (
        "tocommit(",
        "it lost data that it had acknowledged",
        "stop etcd, empty its data directory and run the highstate again",
    ),
)


def quorum(size):
    """Return the quorum of a cluster of ``size`` members."""
    return size // 2 + 1


def decide(me, plan, live, healthy, bootstrap):
    """
    Return what a node without data must do, ``{"action", "why"}``.

    me
        The id of this node.
    plan
        ``{id: peer URL}`` of the plan's etcd nodes.
    live
        The member list, or None if no member answers.
    healthy
        The ids of the other nodes whose member is healthy.
    bootstrap
        Not empty: a new cluster may be bootstrapped.

    ``action`` is ``found`` (bootstrap with the other nodes), ``join`` (the cluster expects this node: start), ``add`` (add the
    member to the cluster first), ``replace`` (the cluster lists a member whose data is lost: remove it, then add), ``wait``
    (retry later) or ``refuse``. ``why`` is a sentence for operators.
    """
    if live is None:
        return _no_member(me, plan, bootstrap)
    ours = set(plan.values())
    unknown = sorted(name for name, member in live.items() if not ours & set(member["peer_urls"]))
    if len(unknown) == len(live):
        return _answer(
            "refuse",
            f"{me}: another etcd cluster answers on the plan's addresses. None of its members is in the plan: "
            f"{', '.join(unknown)}. Next: stop it, or correct plan:nodes",
        )
    mine = next((member for member in live.values() if plan[me] in member["peer_urls"]), None)
    size = len(live) if mine else len(live) + 1
    needed = quorum(size)
    if mine and not mine["client_urls"]:
        return _answer("join", f"the cluster of {', '.join(sorted(live))} expects {me}")
    if len(healthy) < needed:
        return _answer(
            "wait",
            f"{me} has no data and can join only while {needed} other members are healthy; "
            f"healthy now: {', '.join(sorted(healthy)) or 'none'}",
        )
    if mine:
        return _answer("replace", f"the cluster of {', '.join(sorted(live))} lists {me}, whose data is lost")
    return _answer("add", f"the cluster of {', '.join(sorted(live))} does not list {me} yet")


def _no_member(me, plan, bootstrap):
    if bootstrap:
        return _answer("found", f"no member answers; {', '.join(plan)} may bootstrap a new cluster")
    others = ", ".join(name for name in plan if name != me)
    return _answer(
        "wait",
        f"{me} has no etcd data and no other member ({others}) answers, so it cannot join. It does not bootstrap a new "
        "cluster, because that would lose the old one. Next: start the other members. A new cluster is "
        "bootstrapped by salt-run state.orchestrate orch.deploy; where most members have lost their data, by "
        "salt-run state.orchestrate orch.recover_etcd",
    )


def _answer(action, why):
    return {"action": action, "why": why}


def by_name(listed, peer_urls):
    """
    Return a member list by node, ``{node: {"id", "peer_urls", "started", ...}}``, the ``live`` of this file.

    A member without a name, added but not started, gets the name of its node in the plan.

    listed
        ``[{"id", "name", "peer_urls", ...}, ...]``; other keys are kept.
    peer_urls
        ``{node: URL}`` of the plan.
    """
    planned = {url: node for node, url in peer_urls.items()}
    found = {}
    for member in listed:
        urls = member["peer_urls"]
        name = member["name"] or next((planned[url] for url in urls if url in planned), ",".join(urls))
        rest = {key: value for key, value in member.items() if key != "name"}
        found[name] = {**rest, "started": bool(member["name"])}
    return found


def leader_of(statuses):
    """Return the node that the members with the newest term report as leader; None if they disagree."""
    answers = {name: status for name, status in statuses.items() if "error" not in status}
    ids = {status["member_id"]: name for name, status in answers.items()}
    newest = max((status["term"] for status in answers.values()), default=0)
    leaders = {status["leader_id"] for status in answers.values() if status["term"] == newest} - {"0"}
    return ids.get(leaders.pop()) if len(leaders) == 1 else None


def unplanned_members(plan, members):
    """
    Return the members to remove: those with no peer URL of the plan, whatever their names are.

    plan
        ``{id: peer URL}`` of the plan's etcd nodes.
    members
        ``[{"id", "name", "peer_urls"}, ...]``: a list, because an unknown member can have the name of a planned node.

    Raises ``ValueError`` if no member is in the plan: then it is another cluster.
    """
    ours = set(plan.values())
    unplanned = [member for member in members if not ours & set(member["peer_urls"])]
    if unplanned and len(unplanned) == len(members):
        raise ValueError("none of etcd's members is in the plan")
    return unplanned


def stale_keys(prefix, databases, nodes, held):
    """
    Return the keys of hosts that are not in the plan, in the order in which to delete them.

    prefix
        The prefix of Patroni's keys, ``/service/<name>/``.
    databases, nodes
        The plan's nodes with the role patroni, and all nodes.
    held
        ``[(key, value, lease or 0), ...]`` of the keys under ``prefix`` and ``/fanatico/lock/``.
    """
    members, leads, locks = [], [], []
    for key, value, lease in held:
        if key.startswith(f"{prefix}members/"):
            if key.removeprefix(f"{prefix}members/") not in databases:
                members.append(key)
        elif key == f"{prefix}leader" and value not in databases:
            leads.append(key)
        elif key == f"{prefix}failover" and not _among(value, databases):
            leads.insert(0, key)
        elif key.startswith("/fanatico/lock/") and (value not in nodes or not lease):
            locks.append(key)
    return [*members, *leads, *locks]


def _among(request, databases):
    """Tell whether all nodes in a switchover request are in ``databases``."""
    try:
        named = json.loads(request)
    except ValueError:
        return False
    if not isinstance(named, dict):
        return False
    return all(named.get(key) in (None, "", *databases) for key in ("leader", "member"))


def initial_cluster(me, plan, live):
    """
    Return etcd's ``initial-cluster``: the nodes of the plan for a bootstrap, else the members of the cluster.

    A node that joins must name exactly the members of the cluster, including itself.

    me, plan, live
        See ``decide``.
    """
    if live is None:
        named = plan
    else:
        by_url = {url: name for name, url in plan.items()}
        named = {by_url.get(url, name): url for name, member in live.items() for url in member["peer_urls"]}
        named[me] = plan[me]
    return ",".join(f"{name}={url}" for name, url in sorted(named.items()))


def first_start(configuration, state, members, token, bootstrap=""):
    """
    Return etcd's configuration for the one start that bootstraps or joins the cluster.

    configuration
        The content of ``etcd.conf.yml``, parsed.
    state
        ``new`` or ``existing``.
    members
        The result of ``initial_cluster``.
    token
        The cluster token of the secrets; it separates two clusters on the same addresses. etcd logs it, so it gets a hash.
    bootstrap
        A value that no other bootstrap of this cluster had; the same on all members. etcd derives the cluster id from the token:
        with the id of a former cluster, Patroni would compare raft terms and refuse the new one as stale (``StaleEtcdNode``).
    """
    return {
        **configuration,
        "initial-cluster-state": state,
        "initial-cluster": members,
        "initial-cluster-token": hashlib.sha256(f"{token}{bootstrap}".encode()).hexdigest(),
    }


def clusters(statuses):
    """
    Return ``{cluster id: [node, ...]}`` of the members that answer; more than one id means separate clusters.

    statuses
        As ``fanatico_etcd.status`` returns them.
    """
    found: dict[str, Any] = {}
    for name, status in sorted(statuses.items()):
        if "cluster_id" in status:
            found.setdefault(status["cluster_id"], []).append(name)
    return found


# Messages of etcd 3.4 to 3.6 and bbolt about corrupt files.
_DAMAGED = (
    "crc mismatch",
    "invalid database",
    "file size too small",
    "checksum error",
    "panic: assertion failed",
    "panic: page ",
    "panic: freepages",
    "failed to recover v3 backend",
    "failed to open database",
    "failed to read WAL",
    "has been permanently removed from the cluster",
)


def explain(journal):
    """Return ``(cause, next step)`` for the last known error in etcd's log; None if there is none."""
    for line in reversed(journal.splitlines()):
        for sign, cause, remedy in _SIGNS:
            if sign in line:
                return cause, remedy
    return None


def damaged(journal):
    """Return etcd's last log line about corrupt data, or an empty string."""
    lines = [line for line in journal.splitlines() if any(sign in line for sign in _DAMAGED)]
    return lines[-1][-300:] if lines else ""


def enforce_leader_separation(plan, leader, primary, statuses):
    """
    Return ``(member, why)``: the new etcd leader, if both leaders share a failure domain; else ``(None, why)``.

    Losing both leaders at once makes the outage longer by an election: a new etcd leader restarts the time of every lease.

    plan
        The plan. Nodes with the same ``failure_domain`` may fail together; the default is the node itself.
    leader
        The node of the etcd leader, or None.
    primary
        The node of the Patroni leader, or None.
    statuses
        The status of each member, ``{node: {"learner": bool, ...} or {"error": text}}``.
    """
    nodes = plan["nodes"]

    def domain(node):
        return nodes.get(node, {}).get("failure_domain", node)

    if leader is None or primary is None:
        return None, f"{'etcd' if leader is None else 'Patroni'} has no leader now"
    if domain(leader) != domain(primary):
        return None, f"leaders are separated: etcd on {leader}, Patroni on {primary}"
    where = f"on the host {leader}" if leader == primary else f"in the failure domain {domain(leader)}"
    answering = {
        node
        for node, status in statuses.items()
        if "error" not in status and not status.get("learner") and node in nodes
    }
    missing = sorted(statuses.keys() - answering)
    if missing:
        text = f"leader transfer skipped, not all etcd members are healthy: {', '.join(missing)}"
        return None, f"both leaders are {where}; {text}"
    others = [node for node in nodes if node in answering and domain(node) != domain(primary)]
    # Prefer nodes without PostgreSQL: the next failover then keeps the leaders separated.
    others.sort(key=lambda node: "patroni" in nodes[node]["roles"])
    if not others:
        return None, f"both leaders are {where}, like every other etcd member"
    return others[0], f"both leaders are {where}"
