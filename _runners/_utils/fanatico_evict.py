"""
Whether a host can be evicted (``orch.evict``), and whether it is. Pure.

``plan`` is the dict under the pillar key ``plan``. An evicted host has its line under ``plan:evicted``, the same that it had
under ``plan:nodes``: nothing that derives from the nodes of the plan includes it, and the firewalls know its address.
"""

import json

import fanatico_plan
from fanatico_components import COMPONENTS

# {role: the check of fanatico.health that shows whether a node serves in that role}
_SERVES = {
    role: component.serving_check
    for component in COMPONENTS
    if component.serving_check
    for role in component.roles
}
_NEXT = "Next, after that: salt-run state.orchestrate orch.evict pillar="


def objection(plan, host):
    """Return why the plan does not allow ``host`` to be evicted, as a sentence; empty where it does."""
    if not isinstance(host, str) or not host:
        return """name the host: salt-run state.orchestrate orch.evict pillar='{"host": "db2"}'. Nothing was changed"""
    node = described(plan, host)
    if node is None:
        known = ", ".join([*plan["nodes"], *(plan.get("evicted") or {})])
        return f"{host[:100]!r} is neither under plan:nodes nor under plan:evicted; known: {known}. Nothing was changed"
    if "master" in node["roles"]:
        return (
            f"{host} is the Salt master, which controls every host and has every secret; it cannot be evicted. Nothing was "
            "changed. Next: rebuild the cluster from a machine that you trust (docs/fleet.md)"
        )
    for role in node["roles"]:
        if not _others(plan, host, role) and role not in fanatico_plan.OPTIONAL:
            return (
                f"{host} is the last host with the role {role}. Nothing was changed. "
                f'Next: add another host (docs/fleet.md, "Add a node"), then evict {host}'
            )
    return ""


def described(plan, host):
    """Return ``{"address", "roles", ...}`` of a node of the plan or of an evicted host; None for any other host."""
    return (plan.get("evicted") or {}).get(host) or plan["nodes"].get(host)


def asked(plan, host):
    """Return the nodes whose health decides whether ``host`` can be evicted: those that share a role with it."""
    roles = described(plan, host)["roles"]
    return list(dict.fromkeys(node for role in roles for node in _others(plan, host, role)))


def shortage(plan, host, answers):
    """
    Return which redundancy would be missing without ``host``, as a sentence; empty where it can be evicted.

    answers
        ``{node: what its fanatico.health returned}`` of the nodes that ``asked`` returned, without those that did not answer.

    Every remaining database has to serve, since a write needs the acknowledgement of two. etcd has to keep a majority of its
    present members. One balancer and one chain node are enough. A fault of a node that still serves is no reason: the lost host
    may have caused it.
    """
    for role in described(plan, host)["roles"]:
        others = _others(plan, host, role)
        if not others:
            continue  # an optional role
        ill = [node for node in others if not _serves(answers.get(node), role)]
        needed = {"etcd": (len(others) + 1) // 2 + 1, "patroni": len(others)}.get(role, 1)
        if len(others) - len(ill) < needed:
            down = (
                f"{', '.join(ill)} {'does' if len(ill) == 1 else 'do'} not serve"
                if ill
                else "all of them serve"
            )
            return (
                f"{host} cannot be evicted: {needed} of the {len(others)} other hosts with the role {role} have to serve, and "
                f"{down}. Nothing was changed. Next: salt -L {','.join(ill or others)} fanatico.health; until then, disconnect "
                f"{host} where you can: its network, its power"
            )
    return ""


def still_there(plan, host, path):
    """
    Return which lines of the plan the operator has to move first, as text; empty where they are moved.

    path
        The file with the plan.
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
        f"{host} is still a node of the plan. Nothing was changed. In {path}, move its line from `nodes`\n"
        f"to `evicted`, beside `nodes`, where it stays as long as the host is evicted:\n\n"
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
    Return what the operator has to do after a host with ``roles`` was evicted, as sentences.

    names
        The secrets that were replaced.
    public_certificate
        Whether the balancers have a certificate of the operator's.
    """
    found = ["the host: reinstall it before you use it again, with another name and address"]
    if "POSTGRES_FANATICO_PASSWORD" in names:
        found.append(
            "applications: give them the new password of `fanatico` (docs/security.md, Secrets). Sessions that other hosts "
            "opened with the former password continue until they are closed"
        )
    if "patroni" in roles:
        found.append("data: the host could read all databases, keys and passwords of users included")
    if "backup" in roles:
        found.append(
            "backups: the host could read all of them and their passphrase: start a new repository (docs/backup.md), and "
            "replace the keys of backup:s3 where they are set"
        )
    if "haproxy" in roles:
        found.append(
            "network: disconnect the host; in the balancers' network, no firewall stops it from answering for the virtual IP"
        )
    if "haproxy" in roles and public_certificate:
        found.append(
            "haproxy:public: the host had its key; replace the key, and have the certificate revoked"
        )
    return found


def not_done(host, address, seen):
    """
    Return what an evicted host can still reach, as sentences; empty where that is nothing.

    seen
        ``{"nodes", "databases": [ids], "keys": [states of its minion key], "barred": {node: [addresses]}, "leaders": {node:
        leader}, "authorities": {name: stage}, "unsettled": [secrets]}``, and where the host could reach etcd ``unknown``: what
        is wrong with etcd's members and users.
    """
    found = [f"the master has its minion key in {state}" for state in seen["keys"] if state in _KEY_STATES]
    open_at = [node for node in seen["nodes"] if address not in _list(seen["barred"].get(node))]
    if open_at:
        found.append(
            f"{', '.join(open_at)}: the firewall does not block {address} (salt-run state.orchestrate orch.deploy)"
        )
    if seen.get("unknown"):
        found.append(f"etcd: {seen['unknown']}")
    databases, leaders = seen["databases"], seen["leaders"]
    leaderless = [node for node in databases if leaders.get(node) not in databases]
    if leaderless:
        found.append(
            f"Patroni on {', '.join(leaderless)} reports no leader of the plan (salt-run fanatico.status)"
        )
    changing = [name for name, stage in seen["authorities"].items() if stage != "signs"]
    if changing:
        found.append(f"former certificate authorities are still trusted: {', '.join(changing)}")
    if seen["unsettled"]:
        found.append(f"former values of secrets are still valid: {', '.join(seen['unsettled'])}")
    return [f"{host}: {fault}" for fault in found]


_KEY_STATES = {"minions", "minions_pre"}


def _list(value):
    return value if isinstance(value, list) else []
