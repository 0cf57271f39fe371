"""
What an etcd node is to do about its membership, decided from what is seen. No I/O.

``live`` is the member list by node, as ``fanatico_etcd.members`` returns it; a member that never ran has no client
URLs there.
"""

import hashlib
import json
from typing import Any

CONFIGURATION = "/etc/etcd/etcd.conf.yml"
# Where a start that founds the cluster or joins it has its configuration; gone with the next boot.
FIRST_START = "/run/fanatico-etcd"

# Signs in etcd's log, what they mean, and what to do.
_SIGNS = (
    (
        "cluster ID mismatch",
        "its data is of another etcd cluster than its peers'",
        "if nothing in it is needed, stop etcd, empty its data directory and run the highstate again",
    ),
    (
        "has been permanently removed from the cluster",
        "its data is of a member that was removed from the cluster",
        "stop etcd, empty its data directory and run the highstate again: it joins as a new member",
    ),
    (
        "no space left on device",
        "the disk is full",
        "free space under the data directory; etcd then starts by itself",
    ),
    (
        "address already in use",
        "another process holds one of its ports",
        "find it with: ss -ltnp",
    ),
    (
        "permission denied",
        "it may not read or write its data directory",
        "give the data directory back to the user etcd and run the highstate again",
    ),
    (
        "data corruption",
        "its data differs from its peers'",
        "stop etcd, empty its data directory and run the highstate again: it copies from its peers",
    ),
    (
        "tocommit(",
        "it has lost data that the cluster knows it had",
        "stop etcd, empty its data directory and run the highstate again",
    ),
)


def quorum(size):
    """Return how many of ``size`` members are a majority."""
    return size // 2 + 1


def decide(me, plan, live, healthy, bootstrap):
    """
    Return what a node without data has to do: ``{"action", "why", ...}``.

    me
        The id of this node.
    plan
        ``{id: peer URL}`` of the etcd nodes that the plan has.
    live
        The member list, or None where no member answers.
    healthy
        The ids of the other nodes whose member is healthy.
    bootstrap
        Whether a new cluster may be founded.

    ``action`` is ``found`` (start as one of the founders), ``join`` (the cluster expects this node: start), ``add``
    (tell the cluster first), ``replace`` (the cluster still counts on what this node has lost: remove that member,
    then add), ``wait`` (not now, it may get better) or ``refuse``. ``why`` is a sentence for people.
    """
    if live is None:
        return _alone(me, plan, bootstrap)
    ours = set(plan.values())
    strangers = sorted(name for name, one in live.items() if not ours & set(one["peer_urls"]))
    if len(strangers) == len(live):
        return _answer(
            "refuse",
            f"{me}: the etcd that answers on the plan's addresses is another cluster: its members are "
            f"{', '.join(strangers)}, and none of them is in the plan. Stop it, or correct plan:nodes",
        )
    mine = next((one for one in live.values() if plan[me] in one["peer_urls"]), None)
    size = len(live) if mine else len(live) + 1
    needed = quorum(size)
    if mine and not mine["client_urls"]:
        return _answer("join", f"the cluster of {', '.join(sorted(live))} expects {me}")
    if len(healthy) < needed:
        return _answer(
            "wait",
            f"{me} has no data and may join only while {needed} of the other members are healthy; "
            f"healthy now: {', '.join(sorted(healthy)) or 'none'}",
        )
    if mine:
        return _answer(
            "replace", f"the cluster of {', '.join(sorted(live))} still counts on the data {me} lost"
        )
    return _answer("add", f"the cluster of {', '.join(sorted(live))} does not know {me} yet")


def _alone(me, plan, bootstrap):
    if bootstrap:
        return _answer("found", f"no member answers and a new cluster may be founded by {', '.join(plan)}")
    others = ", ".join(name for name in plan if name != me)
    return _answer(
        "wait",
        f"{me} has no etcd data and no other member ({others}) answers, so it cannot join; it does not found a new "
        f"cluster either, because that would forget the old one. Start the other members; or, where no member "
        f"has data any more, run orch.deploy, which makes sure of that and founds a new cluster",
    )


def _answer(action, why):
    return {"action": action, "why": why}


def by_name(listed, peer_urls):
    """
    Return a member list by node, as ``live``: a member that was added and has not started goes by its node in the plan.

    listed
        ``[{"id", "name", "peer_urls", ...}, ...]``; what else an entry has is kept.
    peer_urls
        ``{node: URL}`` of the plan.
    """
    planned = {url: node for node, url in peer_urls.items()}
    found = {}
    for one in listed:
        urls = one["peer_urls"]
        name = one["name"] or next((planned[url] for url in urls if url in planned), ",".join(urls))
        rest = {key: value for key, value in one.items() if key != "name"}
        found[name] = {**rest, "started": bool(one["name"])}
    return found


def leader_of(statuses):
    """Return the node that a member of the same term, and the newest one, calls leader; None where they disagree."""
    answers = {name: one for name, one in statuses.items() if "error" not in one}
    ids = {one["member_id"]: name for name, one in answers.items()}
    newest = max((one["term"] for one in answers.values()), default=0)
    leaders = {one["leader_id"] for one in answers.values() if one["term"] == newest} - {"0"}
    return ids.get(leaders.pop()) if len(leaders) == 1 else None


def unplanned_members(plan, members):
    """
    Return the members that stand at none of the plan's peer URLs, whatever they call themselves: they are to be removed.

    plan
        ``{id: peer URL}`` of the etcd nodes that the plan has.
    members
        ``[{"id", "name", "peer_urls"}, ...]``: a list, since a stranger can have the name of a node of the plan.

    Raises ``ValueError`` where all would be: this is another cluster than the plan's.
    """
    ours = set(plan.values())
    gone = [one for one in members if not ours & set(one["peer_urls"])]
    if gone and len(gone) == len(members):
        raise ValueError("none of etcd's members is in the plan")
    return gone


def stale_keys(prefix, databases, nodes, held):
    """
    Return the keys that are left of hosts the plan does not have, in the order in which to delete them.

    prefix
        Where Patroni's keys are, ``/service/<name>/``.
    databases, nodes
        The plan's nodes with the role patroni, and all of them.
    held
        ``[(key, value, lease or 0), ...]`` of what is under ``prefix`` and under ``/fanatico/lock/``.
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


def _among(order, databases):
    """Tell whether all who are named in an order to hand the lead over are ``databases``."""
    try:
        named = json.loads(order)
    except ValueError:
        return False
    if not isinstance(named, dict):
        return False
    return all(named.get(who) in (None, "", *databases) for who in ("leader", "member"))


def initial_cluster(me, plan, live):
    """
    Return etcd's ``initial-cluster``: the founders of the plan, or the members that are there.

    Joining, it has to name exactly the members the cluster has, this node included.
    """
    if live is None:
        named = plan
    else:
        by_url = {url: name for name, url in plan.items()}
        named = {by_url.get(url, name): url for name, one in live.items() for url in one["peer_urls"]}
        named[me] = plan[me]
    return ",".join(f"{name}={url}" for name, url in sorted(named.items()))


def first_start(configuration, state, members, token):
    """
    Return etcd's configuration for the one start that founds the cluster or joins it.

    configuration
        What ``etcd.conf.yml`` holds.
    state
        ``new`` or ``existing``.
    members
        The result of ``initial_cluster``.
    token
        Keeps two clusters that were founded on the same addresses apart. etcd writes what it is given into its
        log, so it is given a hash.
    """
    return {
        **configuration,
        "initial-cluster-state": state,
        "initial-cluster": members,
        "initial-cluster-token": hashlib.sha256(token.encode()).hexdigest(),
    }


def clusters(statuses):
    """
    Return ``{cluster id: [node, ...]}`` of the members that answer: more than one means strangers.

    statuses
        As ``fanatico_etcd.status`` returns them.
    """
    found: dict[str, Any] = {}
    for name, one in sorted(statuses.items()):
        if "cluster_id" in one:
            found.setdefault(one["cluster_id"], []).append(name)
    return found


# What etcd 3.4 to 3.6 and bbolt say of files whose content is not what was written.
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
    """Return ``(cause, next step)`` for the last sign of trouble in etcd's log, or None where there is none."""
    for line in reversed(journal.splitlines()):
        for sign, cause, remedy in _SIGNS:
            if sign in line:
                return cause, remedy
    return None


def damaged(journal):
    """Return the line in which etcd says that its data cannot be read, or an empty string."""
    lines = [line for line in journal.splitlines() if any(sign in line for sign in _DAMAGED)]
    return lines[-1][-300:] if lines else ""


def enforce_leader_separation(plan, leader, primary, statuses):
    """
    Return ``(member, why)``: who should lead etcd instead of ``leader``, or ``(None, why)`` where all is well or nobody can.

    A host that takes both leaders with it costs an election more: a new etcd leader gives every lease its whole time again.

    plan
        The plan. ``failure_domain`` of a node is what it may go down together with; the node itself without one.
    leader
        The node that leads etcd, or None.
    primary
        The node that leads Patroni, or None.
    statuses
        What each member says of itself, ``{node: {"learner": bool, ...} or {"error": text}}``.
    """
    nodes = plan["nodes"]

    def domain(node):
        return nodes.get(node, {}).get("failure_domain", node)

    if leader is None or primary is None:
        return None, f"{'etcd' if leader is None else 'Patroni'} has no leader at the moment"
    if domain(leader) != domain(primary):
        return None, f"{leader} leads etcd, {primary} leads Patroni: apart"
    where = f"on the host {leader}" if leader == primary else f"in the failure domain {domain(leader)}"
    answering = {
        node
        for node, one in statuses.items()
        if "error" not in one and not one.get("learner") and node in nodes
    }
    if len(answering) < len(statuses):
        return (
            None,
            f"both lead {where}, but not every member of etcd is there: not a moment for an election",
        )
    others = [node for node in nodes if node in answering and domain(node) != domain(primary)]
    # Best where none of PostgreSQL's is either: the next failover changes nothing then.
    others.sort(key=lambda node: "patroni" in nodes[node]["roles"])
    if not others:
        return None, f"both lead {where}, and every member of etcd stands there"
    return others[0], f"both lead {where}"
