"""
A host that is lost is shut out for good: the steps of ``orch.evict`` that no other orchestration has.
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

_LOOK = 10  # seconds for a node to say how it is
_LEAD = 60  # seconds for a standby to take the lead of a host that is cut off
_TOKEN = 5  # seconds after which Patroni is helped to do so


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def evict_scope(host=""):
    """
    See whether a host can be shut out now, and what that takes; ``orch.evict`` asks before its first step.

    host
        Its minion id. Its line has to stand under ``plan:evicted`` in ``plan.sls``; where it does not, the refusal has the lines.

    Returns ``{"host", "roles", "secrets": [names it knew], "certificates": whether it had any, "unsettled": {"secrets",
    "authorities"}}``; unsettled: whether a replacement was begun before that has not come to its end. Refuses, with nothing
    changed, where the host is unknown or the master, where nobody could take over from it, and where the plan still has it.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.evict_scope db2
    """
    plan = fanatico_master.plan(__opts__)
    _refuse_for(fanatico_evict.objection(plan, host))
    asked = fanatico_evict.asked(plan, host)
    answers = fanatico_sweep.fanout(__opts__, asked, "fanatico.health", timeout=_LOOK)
    path = fanatico_master.root(__opts__) / "plan.sls"
    _refuse_for(
        fanatico_evict.shortage(plan, host, answers) or fanatico_evict.still_there(plan, host, str(path))
    )
    roles = fanatico_evict.described(plan, host)["roles"]
    stages = __salt__["fanatico.ca_status"]().values()
    return {
        "host": host,
        "roles": roles,
        "secrets": fanatico_plan.secret_names(roles),
        "certificates": bool(fanatico_pki.authorities(roles)),
        "unsettled": {
            "secrets": bool(__salt__["fanatico.secrets_unsettled"]()),
            "authorities": any(stage != "signs" for stage in stages),
        },
    }


def evict_refused(reason):
    """
    Refuse, with what ``evict_scope`` has said; the only step of an ``orch.evict`` that is not to begin.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.evict_refused 'db9 is no host of the plan'
    """
    _refuse_for(reason)


def evict_key(host):
    """
    Refuse a host's minion key for good, whatever key is sent in its name, and forget its SSH host key. A step of ``orch.evict``.

    host
        A host under ``plan:evicted``.

    A rejected key stays as the master's own record; ``salt-key -d`` removes it where the name is to be used again. The SSH host
    key is what would vouch for another minion key (``fanatico.accept_keys``).

    Returns ``{"key": what was done, "known_hosts": [names forgotten]}``, empty where nothing was left to do.

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
            # All minions get another key for their jobs with that (rotate_aes_key), so that it reads none from here on.
            keys.reject(match_dict={place: [host] for place in taken}, include_accepted=True)
    return {"key": "rejected" if taken else "", "known_hosts": _forget_host_keys([host, address])}


def evict_forget(host, timeout=_LEAD):
    """
    Have etcd and Patroni forget a host, and wait until a database of the plan leads. A step of ``orch.evict``.

    host
        A host under ``plan:evicted``, cut off by the firewalls already: whatever it wants, it cannot hold on to the lead.
    timeout
        Seconds for a standby to take it.

    Returns ``{"members", "keys": what etcd forgot, "patroni": what had to be done for a new leader}``. Raises where no etcd host
    does it, and where nobody leads in time.

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
            f"etcd does not forget {host}: {node}: {str(answer or 'no answer')[-300:]}. Next: salt {node} fanatico_etcd.status, "
            "then run it again"
        )
    return answer | {"patroni": _wait_lead(plan, host, time.monotonic() + timeout, timeout)}


# What had to be done for a new leader.
_RESUMED, _NEW_LOGIN = "resumed", "logged in again"


def _wait_lead(plan, host, deadline, timeout):
    """
    Wait until every database of the plan that answers names one of them as leader; return what had to be done for it.

    Paused, nobody takes over, and whoever rules Patroni's store can pause it. Nor does anybody whose token etcd does not take
    any more, after a change of etcd's users: Patroni 4.0 logs in again when its token ends, minutes later, or when it starts.
    """
    databases, did = fanatico_plan.nodes(plan, "patroni"), []
    patience = min(deadline, time.monotonic() + _TOKEN)
    while True:
        views = {
            node: one
            for node, one in _ask(databases, "fanatico_patroni.cluster", [], 5).items()
            if isinstance(one, dict) and "members" in one
        }
        leaders = {_leader(view) for view in views.values()}
        if len(leaders) == 1 and leaders <= set(databases):
            return did
        now = time.monotonic()
        if _RESUMED not in did and any(view.get("pause") for view in views.values()):
            told = _ask(list(views)[:1], "fanatico_patroni.resume", [], _LOOK)
            did += [_RESUMED] if True in told.values() else []
        if _NEW_LOGIN not in did and now >= patience:
            # As a crash would end it: PostgreSQL goes on, and the unit starts Patroni again.
            _ask(databases, "fanatico_unit.kill", ["patroni.service"], _LOOK)
            did.append(_NEW_LOGIN)
        if now >= deadline:
            named = ", ".join(sorted(str(one) for one in leaders)) or "no answer"
            _refuse_for(
                f"{host} is cut off, and no database of the plan leads within {timeout:g} s (leader: {named}). "
                f"Next: salt -L {','.join(databases)} fanatico_patroni.status, then run it again"
            )
        time.sleep(0.5)


def _leader(view):
    return next((one.get("name") for one in view["members"] if one.get("role") == "leader"), None)


def evicted(host):
    """
    Prove that a host is shut out: its key, every firewall, etcd, Patroni, authorities, secrets. The last step of ``orch.evict``.

    host
        A host under ``plan:evicted``.

    Returns ``{what: how it is}``, with what is left to a person. Raises with all that still stands open.

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
        "barred": _ask(nodes, "fanatico_firewall.barred", [], 15),
        "authorities": __salt__["fanatico.ca_status"](),
        "unsettled": __salt__["fanatico.secrets_unsettled"](),
        "leaders": _ask(fanatico_plan.nodes(plan, "patroni"), "fanatico_patroni.leader", [], _LOOK),
    }
    if {"etcd", "patroni"} & set(roles):
        seen["strangers"] = _strangers(fanatico_plan.nodes(plan, "etcd"))
    found = fanatico_evict.not_done(host, node["address"], seen)
    if found:
        listed = "".join(f"\n  - {one}" for one in found)
        _refuse_for(f"{host} is not shut out yet:{listed}\nNext: see to that, then run orch.evict again")
    names = fanatico_plan.secret_names(roles)
    told = {
        "minion key": "refused, whatever is sent in its name",
        "firewalls": f"{len(nodes)} of {len(nodes)} hosts drop every packet of {node['address']}",
    }
    if "strangers" in seen:
        told["etcd"] = "no member, user or role that is not ours"
        told["Patroni"] = f"{', '.join(sorted(set(seen['leaders'].values())))} leads"
    if names:
        told["secrets"] = f"{len(names)} have another value, the former ones count no more"
    if fanatico_pki.authorities(roles):
        told["certificates"] = "all authorities were replaced, the former ones are trusted no more"
    for number, one in enumerate(fanatico_evict.left(roles, names, _public_certificate(plan)), 1):
        told[f"left to you, {number}"] = one
    return told


def _strangers(etcd):
    """Return what etcd's hosts find wrong with its members and users; that none of them can say is wrong too."""
    answers = _ask(etcd, "fanatico.health", [], _LOOK)
    checks = [one["checks"] for one in answers.values() if isinstance(one, dict) and "checks" in one]
    looked = [one for one in checks if {"etcd.member", "etcd.users"} <= one.keys()]
    if not looked:
        return "its members and users could not be looked at (salt 'etcd*' fanatico.health)"
    wrong = [
        one[name]["detail"]
        for one in looked
        for name in ("etcd.member", "etcd.users")
        if one[name]["status"] != "ok"
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
    """Remove a host's SSH keys from the known_hosts of the user who runs this; return the names that were there."""
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
    """Return a host's entry under ``plan:evicted``; refuses where it has none."""
    plan = fanatico_master.plan(__opts__)
    found = fanatico_plan.evicted(plan)
    if host not in found or host in plan["nodes"]:
        _refuse_for(
            f"{host} does not stand under plan:evicted alone. Nothing was changed. Next: salt-run fanatico.evict_scope {host}"
        )
    return found[host]


def _ask(nodes, function, arguments, timeout):
    return fanatico_sweep.fanout(__opts__, nodes, function, arguments, timeout)


def _refuse_for(reason):
    if reason:
        fanatico_master.refuse(reason)
