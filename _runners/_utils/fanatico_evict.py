"""
May a host be shut out for good (``orch.evict``), and what has it known? Pure.

``plan`` is the dict under the pillar key ``plan``. A host that is shut out stands under ``plan:evicted``, in the words it had
under ``plan:nodes``: everything that follows from the plan is so without it, and its address is known to the firewalls.
"""

import json

import fanatico_plan
from fanatico_components import COMPONENTS

# {role: the check of fanatico.health that says whether a node does what its role is there for}
_SERVES = {role: one.serving_check for one in COMPONENTS if one.serving_check for role in one.roles}
_NEXT = "Next, when that is done: salt-run state.orchestrate orch.evict pillar="


def objection(plan, host):
    """Return why ``host`` can never be shut out, by the plan alone, as a sentence; empty where it can."""
    if not isinstance(host, str) or not host:
        return """name the host: salt-run state.orchestrate orch.evict pillar='{"host": "db2"}'. Nothing was changed"""
    node = described(plan, host)
    if node is None:
        known = ", ".join([*plan["nodes"], *(plan.get("evicted") or {})])
        return f"{host[:100]!r} is no host of the plan, nor under plan:evicted; those are {known}. Nothing was changed"
    if "master" in node["roles"]:
        return (
            f"{host} is the Salt master: whoever has it has every host and every secret, and nothing here can shut it out. "
            "Nothing was changed. Next: rebuild the cluster from a machine that you trust (docs/fleet.md)"
        )
    for role in node["roles"]:
        if not _others(plan, host, role):
            return (
                f"{host} is the last host with the role {role}. Nothing was changed. "
                'Next: add another one (docs/fleet.md, "Add a node"), then evict this one'
            )
    return ""


def described(plan, host):
    """Return ``{"address", "roles", ...}`` of a host of the plan or one that is shut out already; None for any other."""
    return (plan.get("evicted") or {}).get(host) or plan["nodes"].get(host)


def asked(plan, host):
    """Return the nodes whose health decides whether ``host`` can be spared: those that share a role with it."""
    roles = described(plan, host)["roles"]
    return list(dict.fromkeys(node for role in roles for node in _others(plan, host, role)))


def shortage(plan, host, answers):
    """
    Return what would be missing without ``host``, as a sentence; empty where it can be spared.

    answers
        ``{node: what its fanatico.health returned}`` of the nodes that ``asked`` named; who did not answer is not in it.

    Each remaining database has to run, since a write is acknowledged by two of them; etcd keeps a majority of the members it
    has now; of balancers and chain nodes one is enough. A fault that does not keep a node from serving is no reason: the host
    that is lost may have caused it.
    """
    for role in described(plan, host)["roles"]:
        others = _others(plan, host, role)
        ill = [node for node in others if not _serves(answers.get(node), role)]
        needed = {"etcd": (len(others) + 1) // 2 + 1, "patroni": len(others)}.get(role, 1)
        if len(others) - len(ill) < needed:
            who = f"{', '.join(ill)} {'does' if len(ill) == 1 else 'do'} not serve" if ill else "none is ill"
            return (
                f"{host} cannot be spared: without it {needed} of the other hosts with the role {role} have to serve, of "
                f"{len(others)}, and {who}. Nothing was changed. Next: salt -L {','.join(ill or others)} fanatico.health; "
                f"until then, cut {host} off where you can (its cable, its power)"
            )
    return ""


def still_there(plan, host, path):
    """
    Return what the operator has to write first, as text for people; empty where it is written.

    path
        The file that the plan is in.
    """
    if host not in plan["nodes"]:
        return ""
    node = plan["nodes"][host]
    inside = ", ".join(
        f"{key}: {'[' + ', '.join(value) + ']' if isinstance(value, list) else value}"
        for key, value in node.items()
    )
    pillar = json.dumps({"host": host})
    return (
        f"{host} is still a node of the plan. Nothing was changed. In {path} take its line out of `nodes`, and put it\n"
        f"under `evicted`, beside `nodes`, where it stays as the record of that:\n\n"
        f"  evicted:\n    {host}: {{{inside}}}\n\n{_NEXT}'{pillar}'"
    )


def _others(plan, host, role):
    return fanatico_plan.peers(plan, role, host)


def _serves(answer, role):
    checks = answer.get("checks") if isinstance(answer, dict) else None
    status = (checks or {}).get(_SERVES[role], {}).get("status")
    return status in ("ok", "degraded")


def left(roles, names, public_certificate):
    """
    Return what no orchestration can do after a host with ``roles`` was shut out, as sentences.

    names
        The secrets that were given other values.
    public_certificate
        Whether the balancers have one of the operator's own.
    """
    found = ["the machine itself: reinstall it before it is used again, under a name and address of its own"]
    if "POSTGRES_FANATICO_PASSWORD" in names:
        found.append(
            "applications: give them the new password of `fanatico` (docs/security.md, Secrets); sessions that were opened "
            "with the former one from other hosts go on until they end"
        )
    if "patroni" in roles:
        found.append("what the databases held was readable there: keys and passwords of users among it")
    if "haproxy" in roles:
        found.append(
            "its cable: no firewall of ours keeps a machine in the balancers' network from answering for the virtual IP"
        )
    if "haproxy" in roles and public_certificate:
        found.append("haproxy:public: its key was on that host; replace it, and have its certificate revoked")
    return found


def not_done(host, address, seen):
    """
    Return what still stands open for a host that was shut out, as sentences; empty where nothing does.

    seen
        ``{"nodes", "databases": [ids], "keys": [states of its minion key], "barred": {node: [addresses]}, "leaders": {node:
        leader}, "authorities": {name: stage}, "unsettled": [secrets]}``, and ``strangers``, what is wrong with etcd's members and
        users, where the host could reach etcd.
    """
    found = [f"the master holds its minion key as {state}" for state in seen["keys"] if state in _KEY_STATES]
    open_at = [node for node in seen["nodes"] if address not in _list(seen["barred"].get(node))]
    if open_at:
        found.append(
            f"{', '.join(open_at)}: the firewall in force does not shut out {address} (salt-run state.orchestrate orch.deploy)"
        )
    if seen.get("strangers"):
        found.append(f"etcd: {seen['strangers']}")
    databases, leaders = seen["databases"], seen["leaders"]
    led_astray = [node for node in databases if leaders.get(node) not in databases]
    if led_astray:
        found.append(
            f"Patroni on {', '.join(led_astray)} names no leader of the plan (salt-run fanatico.status)"
        )
    changing = [name for name, stage in seen["authorities"].items() if stage != "signs"]
    if changing:
        found.append(f"the former certificate authority is still trusted: {', '.join(changing)}")
    if seen["unsettled"]:
        found.append(f"the former value still counts: {', '.join(seen['unsettled'])}")
    return [f"{host}: {one}" for one in found]


_KEY_STATES = {"minions", "minions_pre"}


def _list(value):
    return value if isinstance(value, list) else []
