"""
What is wrong and no event told of, or told in vain: found by looking at every node now and then (the master's schedule).
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

_ELECTION = 3  # seconds: VRRP's longest, with a node that is down in between

__virtualname__ = "fanatico"


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def reconcile(timeout=20):
    """
    Look at every node, and hand what is wrong for the second time in a row to ``orch.heal``, which decides.

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
    believed = {node: fanatico_guard.believed(plan, node, one) for node, one in answers.items()}
    found = {node: one for node, one in believed.items() if one}
    if any(isinstance(one, dict) for one in answers.values()):  # else this is no cluster yet
        found |= {node: {"unprovisioned": _BARE} for node in nodes if _knows_nothing(answers.get(node))}
    for fault, seen in (
        ("writes-stalled", _stalled(plan, timeout)),
        ("vip-duplicate", _doubled(plan, timeout)),
    ):
        for node, why in seen.items():
            found.setdefault(node, {})[fault] = why
    now = [f"{node}/{what}" for node, one in found.items() for what in one]
    # The last first: of two that hold the address it is the one with the lower priority.
    due, treated = sorted(set(now) & set(_last()), reverse=True), []
    _remember(now)
    for key in due:
        node, _, what = key.partition("/")
        tried = any(one.endswith(f"/{what}") for one in treated)
        if what == "vip-duplicate" and tried and not _still_doubled(node, plan, timeout):
            continue
        _treat(node, what, found[node][what])
        treated.append(key)
    return {"found": found, "silent": [node for node in nodes if node not in answers], "treated": treated}


def look(host, timeout=5):
    """
    Ask a host what its beacon has reported, and hand that to ``orch.heal``, which decides. Called by the reactor.

    An event is no more than a reason to ask: any minion can fire one in any host's name.

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
            "%s reports faults that are not there: for ten minutes only fanatico.reconcile looks at it", host
        )
        return {}
    answer = fanatico_sweep.fanout(__opts__, [host], "fanatico_cure.reported", timeout=timeout)
    found = fanatico_guard.believed(plan, host, answer.get(host))
    for what, why in found.items():
        _treat(host, what, why)
    return found


def _distrusted(host):
    """Tell whether ``host`` has reported too much that was not there; a guard without its memory refuses by itself."""
    try:
        state = fanatico_file.read_json(_home() / "guard.json")
    except ValueError:
        return False
    return fanatico_guard.distrusted(state, host, time.time())


def started(host, timeout=20):
    """
    See whether the host of a minion that has just started was reinstalled, and have it built if so. Called by the reactor.

    host
        The minion.
    timeout
        Seconds for it to answer.

    Returns why it counts as reinstalled; empty where it does not. Raises for a host that is not in the plan.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.started db3
    """
    plan = fanatico_master.plan(__opts__)
    (host,) = fanatico_master.known(plan, str(host))
    roles = set(fanatico_plan.roles(plan, host))
    # A deploy that is running, or that there never was, is what makes the others.
    if not roles - {"master"} or __salt__["fanatico.locked"]() or not _deployed():
        return ""
    answer = fanatico_sweep.fanout(__opts__, [host], "fanatico_cure.unprovisioned", timeout=timeout).get(
        host, ""
    )
    why = _BARE if _knows_nothing(answer) else str(answer)
    if why:
        _treat(host, "unprovisioned", why)
    return why


_BARE = "its minion has none of our modules: the host was reinstalled"


def _knows_nothing(answer):
    """Tell whether a minion answered that it has never heard of the function: Salt's own words, and all that it says of it."""
    return isinstance(answer, str) and "is not available" in answer


def _treat(node, what, why):
    __salt__["state.orchestrate"]("orch.heal", pillar={"event": {"host": node, "what": what, "why": why}})


def _deployed():
    """Tell whether anything was ever deployed or healed here: there is a history, or an older one."""
    path = Path(fanatico_record.history(__opts__))
    return any(one.stat().st_size for one in path.parent.glob(f"{path.name}*"))


def _doubled(plan, timeout):
    """Return ``{balancer: why}`` where two hold the virtual IP: one after the other elects again, until one has it."""
    nodes = fanatico_plan.nodes(plan, "haproxy")
    answers = fanatico_sweep.fanout(__opts__, nodes, "fanatico_keepalived.holds_address", timeout=timeout)
    holders = [node for node in nodes if answers.get(node) is True]
    why = f"{' and '.join(holders)} hold {plan['virtual_ip']['address']} at the same time"
    return dict.fromkeys(holders, why) if len(holders) > 1 else {}


def _still_doubled(node, plan, timeout):
    """Tell whether ``node`` shares the address even after what was just done elsewhere, and an election, are over."""
    time.sleep(_ELECTION)
    return node in _doubled(plan, timeout)


def _stalled(plan, timeout):
    """
    Return ``{leader: why}`` where nobody can write through the virtual IP although somebody leads.

    Seen by at least two nodes, all that answer; what Patroni itself can see is its own to mend.
    """
    nodes = fanatico_plan.nodes(plan, "patroni")
    answers = fanatico_sweep.fanout(__opts__, nodes, "fanatico.canary", timeout=timeout)
    seen = [one for one in answers.values() if isinstance(one, dict) and one.get("ok") is not None]
    if len(seen) < 2 or any(one["ok"] for one in seen):
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
