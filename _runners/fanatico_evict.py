"""
Evict a lost host: the steps of ``orch.evict`` that no other orchestration has.
"""

import pathlib
import subprocess
import time

import salt.key

import fanatico_evict
import fanatico_guard
import fanatico_master
import fanatico_pki
import fanatico_plan
import fanatico_sweep

__virtualname__ = "fanatico"

_ANSWER = 10  # seconds for a node to answer
_LEAD = 60  # seconds for a replica to become leader in place of the blocked host
_TOKEN = 5  # seconds until Patroni is restarted, so that it logs in to etcd again


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def evict_scope(host=""):
    """
    Return whether a host can be evicted now, and what has to be replaced. ``orch.evict`` calls it before its first step.

    host
        The minion id. Its line has to be under ``plan:evicted`` in ``plan.sls``; where it is not, the refusal shows the lines.

    Returns ``{"host", "roles", "secrets": [names it knew], "certificates": whether it had any, "unsettled": {"secrets",
    "authorities"}}``; unsettled: whether an earlier rotation is not complete. Raises, with nothing changed, where the host is
    unknown or the master, where its redundancy is missing, and where it is still a node of the plan.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.evict_scope db2
    """
    plan = fanatico_master.plan(__opts__)
    _refuse_for(fanatico_evict.objection(plan, host))
    asked = fanatico_evict.asked(plan, host)
    answers = fanatico_sweep.fanout(__opts__, asked, "fanatico.health", timeout=_ANSWER)
    path = fanatico_master.root(__opts__) / "plan.sls"
    _refuse_for(
        fanatico_evict.shortage(plan, host, answers) or fanatico_evict.still_there(plan, host, str(path))
    )
    roles = fanatico_evict.described(plan, host)["roles"]
    stages = __salt__["fanatico.ca_status"]().values()
    return {
        "host": host,
        "roles": roles,
        "secrets": [name for name in fanatico_plan.secret_names(roles) if name not in fanatico_plan.LASTING],
        "certificates": bool(fanatico_pki.authorities(roles)),
        "unsettled": {
            "secrets": bool(__salt__["fanatico.secrets_unsettled"]()),
            "authorities": any(stage != "signs" for stage in stages),
        },
    }


def evict_refused(reason):
    """
    Raise with the refusal of ``evict_scope``: the only step of an ``orch.evict`` that must not start.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.evict_refused 'db9 is neither under plan:nodes nor under plan:evicted'
    """
    _refuse_for(reason)


def evict_key(host):
    """
    Reject the minion key of a host, and any later key in its name, and remove its SSH host key. A step of ``orch.evict``.

    host
        A host under ``plan:evicted``.

    The rejected key stays on the master; ``salt-key -d`` removes it where the name is to be used again. With the SSH host key
    the host could prove another minion key as its own (``fanatico.accept_keys``).

    Returns ``{"key": "rejected" or "", "known_hosts": [names removed]}``, empty where nothing had to be done.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.evict_key db2
    """
    address = _evicted(host)["address"]
    with salt.key.Key(__opts__) as keys:
        places = [place for place, names in keys.list_keys().items() if host in names]
        if "minions_denied" in places:
            keys.cache.flush("denied_keys", host)
        taken = [place for place in places if place in ("minions", "minions_pre")]
        if taken:
            # This also replaces the key that encrypts jobs (rotate_aes_key), so the host can read no job any more.
            keys.reject(match_dict={place: [host] for place in taken}, include_accepted=True)
    return {"key": "rejected" if taken else "", "known_hosts": _forget_host_keys([host, address])}


def evict_forget(host, timeout=_LEAD):
    """
    Remove a host from etcd and Patroni, and wait until a database of the plan is the leader. A step of ``orch.evict``.

    host
        A host under ``plan:evicted``. The firewalls block it already, so it cannot renew the leader lease.
    timeout
        Seconds for a replica to become leader.

    Returns ``{"members", "keys": what was removed from etcd, "patroni": what had to be done for a new leader}``. Raises where no
    etcd host could remove it, and where there is no leader in time.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.evict_forget db2
    """
    _evicted(host)
    plan, answer, node = fanatico_master.plan(__opts__), None, ""
    for node in fanatico_plan.nodes(plan, "etcd"):
        answer = _ask([node], "fanatico_etcd.evict", [host], 60).get(node)
        if isinstance(answer, dict):
            break
    else:
        _refuse_for(
            f"{host} was not removed from etcd: {node}: {str(answer or 'no answer')[-300:]}. Next: salt {node} "
            "fanatico_etcd.status, then run orch.evict again"
        )
    return answer | {"patroni": _wait_lead(plan, host, time.monotonic() + timeout, timeout)}


# What had to be done for a new leader.
_RESUMED, _NEW_LOGIN = "resumed", "logged in again"


def _wait_lead(plan, host, deadline, timeout):
    """
    Wait until all databases of the plan that answer report the same one of them as leader; return what had to be done for that.

    There is no failover while Patroni is paused, and the lost host may have paused it. There is none either while etcd refuses
    Patroni's token, after a change of etcd's users: Patroni 4.0 logs in again when its token expires, minutes later, or when it
    starts.
    """
    databases, did = fanatico_plan.nodes(plan, "patroni"), []
    patience = min(deadline, time.monotonic() + _TOKEN)
    while True:
        views = {
            node: view
            for node, view in _ask(databases, "fanatico_patroni.cluster", [], 5).items()
            if isinstance(view, dict) and "members" in view
        }
        leaders = {_leader(view) for view in views.values()}
        if len(leaders) == 1 and leaders <= set(databases):
            return did
        now = time.monotonic()
        if _RESUMED not in did and any(view.get("pause") for view in views.values()):
            answers = _ask(list(views)[:1], "fanatico_patroni.resume", [], _ANSWER)
            did += [_RESUMED] if True in answers.values() else []
        if _NEW_LOGIN not in did and now >= patience:
            # As in a crash: PostgreSQL keeps running, and systemd starts Patroni again.
            _ask(databases, "fanatico_unit.kill", ["patroni.service"], _ANSWER)
            did.append(_NEW_LOGIN)
        if now >= deadline:
            named = ", ".join(sorted(map(str, leaders))) or "no answer"
            _refuse_for(
                f"{host} is blocked, but no database of the plan became leader within {timeout:g} s (leader: {named}). "
                f"Next: salt -L {','.join(databases)} fanatico_patroni.status, then run orch.evict again"
            )
        time.sleep(0.5)


def _leader(view):
    return next((member.get("name") for member in view["members"] if member.get("role") == "leader"), None)


def evicted(host):
    """
    Prove that a host is evicted: its key, every firewall, etcd, Patroni, authorities, secrets. The last step of ``orch.evict``.

    host
        A host under ``plan:evicted``.

    Returns ``{what: state}``, and what the operator has to do. Raises with all that the host can still reach.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.evicted db2
    """
    node, plan = _evicted(host), fanatico_master.plan(__opts__)
    nodes, roles = list(plan["nodes"]), node["roles"]
    seen = {
        "nodes": nodes,
        "databases": fanatico_plan.nodes(plan, "patroni"),
        "keys": _key_states(host),
        "barred": _ask(nodes, "fanatico_firewall.blocked_addresses", [], 15),
        "authorities": __salt__["fanatico.ca_status"](),
        "unsettled": __salt__["fanatico.secrets_unsettled"](),
        "leaders": _ask(fanatico_plan.nodes(plan, "patroni"), "fanatico_patroni.leader", [], _ANSWER),
    }
    if {"etcd", "patroni"} & set(roles):
        seen["unknown"] = _unknown_members(fanatico_plan.nodes(plan, "etcd"))
    found = fanatico_evict.not_done(host, node["address"], seen)
    if found:
        listed = "".join(f"\n  - {fault}" for fault in found)
        _refuse_for(f"{host} is not evicted yet:{listed}\nNext: correct that, then run orch.evict again")
    names = fanatico_plan.secret_names(roles)
    proof = {
        "minion key": "rejected, and so is any other key in its name",
        "firewalls": f"{len(nodes)} of {len(nodes)} hosts drop every packet of {node['address']}",
    }
    if "unknown" in seen:
        proof["etcd"] = "no unknown member, user or role"
        proof["Patroni"] = f"leader: {', '.join(sorted(set(seen['leaders'].values())))}"
    if names:
        proof["secrets"] = f"{len(names)} replaced, the former values are no longer valid"
    if fanatico_pki.authorities(roles):
        proof["certificates"] = "all authorities replaced, the former ones are no longer trusted"
    for number, task in enumerate(fanatico_evict.left(roles, names, _public_certificate(plan)), 1):
        proof[f"to do, {number}"] = task
    return proof


def _unknown_members(etcd):
    """Return what is wrong with etcd's members and users; also that no etcd host could check them."""
    answers = _ask(etcd, "fanatico.health", [], _ANSWER)
    healths = [
        health["checks"] for health in answers.values() if isinstance(health, dict) and "checks" in health
    ]
    checked = [checks for checks in healths if {"etcd.member", "etcd.users"} <= checks.keys()]
    if not checked:
        return "its members and users could not be checked (salt 'etcd*' fanatico.health)"
    wrong = [
        checks[name]["detail"]
        for checks in checked
        for name in ("etcd.member", "etcd.users")
        if checks[name]["status"] != "ok"
    ]
    return fanatico_guard.printable("; ".join(dict.fromkeys(wrong)))


def _key_states(host):
    with salt.key.Key(__opts__) as keys:
        return [place for place, names in keys.list_keys().items() if host in names]


def _public_certificate(plan):
    balancer = fanatico_plan.nodes(plan, "haproxy")[0]
    pillar, _ = fanatico_master.compiled(__opts__, balancer)
    return bool(fanatico_plan.get(pillar, "haproxy:public:certificate"))


def _forget_host_keys(names):
    """Remove a host's SSH keys from the known_hosts of the user who runs this; return the names that had keys."""
    path, gone = pathlib.Path.home() / ".ssh" / "known_hosts", []
    if not path.exists():
        return gone
    for name in names:
        argv = ["ssh-keygen", "-F", name, "-f", str(path)]
        if subprocess.run(argv, capture_output=True, timeout=20, check=False).returncode == 0:
            argv[1] = "-R"
            subprocess.run(argv, capture_output=True, timeout=20, check=True)
            gone.append(name)
    return gone


def _evicted(host):
    """Return a host's entry under ``plan:evicted``; raises where it has none."""
    plan = fanatico_master.plan(__opts__)
    found = fanatico_plan.evicted(plan)
    if host not in found or host in plan["nodes"]:
        _refuse_for(
            f"{host} is not under plan:evicted alone. Nothing was changed. Next: salt-run fanatico.evict_scope {host}"
        )
    return found[host]


def _ask(nodes, function, arguments, timeout):
    return fanatico_sweep.fanout(__opts__, nodes, function, arguments, timeout)


def _refuse_for(reason):
    if reason:
        fanatico_master.refuse(reason)
