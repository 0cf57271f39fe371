"""
What is wrong and no event told of, or told in vain: found by looking at every node now and then (the master's schedule).
"""

import json
from pathlib import Path

__virtualname__ = "fanatico"


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
    plan = __utils__["fanatico_master.plan"](__opts__)
    nodes = __utils__["fanatico_plan.nodes"](plan)
    answers = __utils__["fanatico_sweep.ask"](__opts__, nodes, "fanatico_cure.found", timeout=timeout)
    found = {node: one for node, one in answers.items() if isinstance(one, dict) and one}
    for node, why in _stalled(plan, timeout).items():
        found.setdefault(node, {})["writes-stall"] = why
    now = [f"{node}/{what}" for node, one in found.items() for what in one]
    treated = sorted(set(now) & set(_last()))
    _remember(now)
    for key in treated:
        node, _, what = key.partition("/")
        event = {"host": node, "what": what, "why": found[node][what]}
        __salt__["state.orchestrate"]("orch.heal", pillar={"event": event})
    return {"found": found, "silent": [node for node in nodes if node not in answers], "treated": treated}


def _stalled(plan, timeout):
    """
    Return ``{leader: why}`` where nobody can write through the virtual address although somebody leads.

    Seen by at least two nodes, all that answer; what Patroni itself can see is its own to mend.
    """
    ask = __utils__["fanatico_sweep.ask"]
    nodes = __utils__["fanatico_plan.nodes"](plan, "patroni")
    answers = ask(__opts__, nodes, "fanatico.canary", timeout=timeout)
    seen = [one for one in answers.values() if isinstance(one, dict)]
    if len(seen) < 2 or any(one["ok"] for one in seen):
        return {}
    named = set(ask(__opts__, nodes, "fanatico_patroni.leader", timeout=timeout).values())
    return dict.fromkeys(named, seen[0]["why"]) if len(named) == 1 and named <= set(nodes) else {}


def _file():
    return Path(__opts__.get("fanatico_home", "/var/lib/fanatico"), "reconcile.json")


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
