"""
Reconcile: find faults whose event was lost, by asking every node regularly (the master's schedule).
"""

import json
import logging
import time
from pathlib import Path

import fanatico_file
import fanatico_guard
import fanatico_master
import fanatico_plan
import fanatico_record
import fanatico_sweep

log = logging.getLogger(__name__)

_ELECTION = 3  # seconds that a VRRP election takes at most, with a node down

__virtualname__ = "fanatico"


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def reconcile(timeout=20):
    """
    Ask every node for its faults, and pass each fault that was found twice in a row to ``orch.heal``, which decides.

    timeout
        Seconds for all nodes to answer.

    Returns ``{"found": {node: {unit or fault: what was seen}}, "silent": [nodes], "treated": ["node/unit or fault", ...]}``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.reconcile
    """
    plan = fanatico_master.plan(__opts__)
    nodes = fanatico_plan.nodes(plan)
    __salt__["fanatico.left_over"]()
    answers = fanatico_sweep.fanout(__opts__, nodes, "fanatico_cure.found", timeout=timeout)
    believed = {node: fanatico_guard.accepted(plan, node, faults) for node, faults in answers.items()}
    found = {node: faults for node, faults in believed.items() if faults}
    if any(isinstance(faults, dict) for faults in answers.values()):  # else nothing is deployed yet
        found |= {
            node: {"unprovisioned": _NO_MODULES} for node in nodes if _has_no_modules(answers.get(node))
        }
    for fault, seen in (
        ("writes-stalled", _stalled(plan, timeout)),
        ("vip-duplicate", _duplicate(plan, timeout)),
    ):
        for node, why in seen.items():
            found.setdefault(node, {})[fault] = why
    now = [f"{node}/{what}" for node, faults in found.items() for what in faults]
    # In reverse: of two balancers that hold the virtual IP, the one with the lower priority comes first.
    due, treated = sorted(set(now) & set(_last()), reverse=True), []
    _remember(now)
    for key in due:
        node, _, what = key.partition("/")
        tried = any(other.endswith(f"/{what}") for other in treated)
        if what == "vip-duplicate" and tried and not _still_duplicate(node, plan, timeout):
            continue
        _heal(node, what, found[node][what])
        treated.append(key)
    return {"found": found, "silent": [node for node in nodes if node not in answers], "treated": treated}


def look(host, timeout=5):
    """
    Ask a host which faults its beacon has reported, and pass them to ``orch.heal``, which decides. Called by the reactor.

    The event itself is not used: any minion can send one in the name of any host.

    host
        The minion.
    timeout
        Seconds for it to answer.

    Returns ``{unit or fault: what was seen}``. Raises for a host that is not in the plan.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.look db1
    """
    plan = fanatico_master.plan(__opts__)
    (host,) = fanatico_master.known(plan, str(host))
    if _distrusted(host):
        log.warning(
            "%s has reported faults that do not exist: for ten minutes only fanatico.reconcile asks it", host
        )
        return {}
    answer = fanatico_sweep.fanout(__opts__, [host], "fanatico_cure.reported", timeout=timeout)
    found = fanatico_guard.accepted(plan, host, answer.get(host))
    for what, why in found.items():
        _heal(host, what, why)
    return found


def _distrusted(host):
    """Return whether ``host`` has reported too many faults that do not exist; a guard with a damaged memory refuses anyway."""
    try:
        state = fanatico_file.read_json(_home() / "guard.json")
    except ValueError:
        return False
    return fanatico_guard.reports_ignored(state, host, time.time())


def started(host, timeout=20):
    """
    Check whether the host of a minion that has started was reinstalled, and start ``orch.heal`` if so. Called by the reactor.

    host
        The minion.
    timeout
        Seconds for it to answer.

    Returns why it counts as reinstalled; empty where it does not.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.started db3
    """
    plan = fanatico_master.plan(__opts__)
    roles = set(fanatico_plan.roles(plan, host))
    # A deploy provisions hosts itself, while it runs and where none has run yet.
    if not roles - {"master"} or __salt__["fanatico.locked"]() or not _deployed():
        return ""
    answer = fanatico_sweep.fanout(__opts__, [host], "fanatico_cure.unprovisioned", timeout=timeout).get(
        host, ""
    )
    why = _NO_MODULES if _has_no_modules(answer) else str(answer)
    if why:
        _heal(host, "unprovisioned", why)
    return why


_NO_MODULES = "its minion has none of our modules: the host was reinstalled"


def _has_no_modules(answer):
    """Return whether a minion answered that it does not have the function. Salt reports that in this text alone."""
    return isinstance(answer, str) and "is not available" in answer


def _heal(node, what, why):
    __salt__["state.orchestrate"]("orch.heal", pillar={"event": {"host": node, "what": what, "why": why}})


def _deployed():
    """Return whether anything was ever deployed or healed here: there is a history, the present one or a rotated one."""
    path = Path(fanatico_record.history(__opts__))
    return any(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def _duplicate(plan, timeout):
    """Return ``{balancer: why}`` of the balancers that hold the virtual IP at the same time; empty where one or none does."""
    nodes = fanatico_plan.nodes(plan, "haproxy")
    answers = fanatico_sweep.fanout(__opts__, nodes, "fanatico_keepalived.holds_address", timeout=timeout)
    holders = [node for node in nodes if answers.get(node) is True]
    why = f"{' and '.join(holders)} hold {plan['virtual_ip']['address']} at the same time"
    return dict.fromkeys(holders, why) if len(holders) > 1 else {}


def _still_duplicate(node, plan, timeout):
    """Return whether ``node`` still holds the virtual IP beside another balancer, after a cure there and an election."""
    time.sleep(_ELECTION)
    return node in _duplicate(plan, timeout)


def _stalled(plan, timeout):
    """
    Return ``{leader: why}`` where writes through the virtual IP fail although there is a leader.

    At least two nodes have to report it, and all that answer. Patroni repairs what it can see itself.
    """
    nodes = fanatico_plan.nodes(plan, "patroni")
    answers = fanatico_sweep.fanout(__opts__, nodes, "fanatico.canary", timeout=timeout)
    seen = [
        canary for canary in answers.values() if isinstance(canary, dict) and canary.get("ok") is not None
    ]
    if len(seen) < 2 or any(canary["ok"] for canary in seen):
        return {}
    named = set(fanatico_sweep.fanout(__opts__, nodes, "fanatico_patroni.leader", timeout=timeout).values())
    return dict.fromkeys(named, seen[0]["why"]) if len(named) == 1 and named <= set(nodes) else {}


def _home():
    return Path(fanatico_record.home(__opts__))


def _file():
    return _home() / "reconcile.json"


def _last():
    try:
        return json.loads(_file().read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []


def _remember(keys):
    _file().parent.mkdir(parents=True, exist_ok=True)
    temporary = _file().with_suffix(".new")
    temporary.write_text(json.dumps(keys), encoding="utf-8")
    temporary.replace(_file())
