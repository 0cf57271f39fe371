"""
Where the hosts are no longer what the tree and the pillar say, without touching them.
"""

import time

import salt.utils.event

import fanatico_history
import fanatico_master
import fanatico_plan
import fanatico_record
import fanatico_sweep

__virtualname__ = "fanatico"


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def drift(nodes=None, at_once=4, timeout=180):
    """
    Compare hosts with what a highstate would make of them: files, packages, units, firewall, the settings in etcd.

    Nothing is changed, unless pillar ``heal:auto_remediate_drift`` names kinds of drift to correct: that goes
    through the guard, as every healing does. Else `salt NODE state.highstate` puts it right. Runs every night by the master's
    schedule, too.

    nodes
        A list of nodes; without it all of the plan.
    at_once
        So many hosts work it out side by side.
    timeout
        Seconds for each such group.

    Returns ``{"drift": {node: {state: {"kind", "would"}}}, "unknown": {node: why}, "took": seconds}``, and writes a line to the
    history. ``salt-run`` ends with 1 where anything has drifted or could not be told.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.drift
        salt-run fanatico.drift nodes='[db1, db2]'
    """
    begun = time.monotonic()
    plan = fanatico_master.plan(__opts__)
    known = fanatico_plan.nodes(plan)
    nodes = fanatico_master.known(plan, nodes or known)
    wanted, answers = [node for node in known if node in nodes], {}
    for first in range(0, len(wanted), int(at_once)):
        group = wanted[first : first + int(at_once)]
        answers |= fanatico_sweep.fanout(__opts__, group, "fanatico_node.drift", timeout=float(timeout))
    told = {node: one for node, one in answers.items() if isinstance(one, dict)}
    seen = {
        "drift": {node: one for node, one in told.items() if one},
        "unknown": {
            node: str(answers.get(node, "no answer")).strip().rpartition("\n")[2]
            for node in wanted
            if node not in told
        },
        "took": round(time.monotonic() - begun, 1),
    }
    _note(seen, wanted)
    for node in seen["drift"] if _may_correct() else ():
        event = {"host": node, "what": "drift", "why": f"drifted: {', '.join(seen['drift'][node])}"[:300]}
        __salt__["state.orchestrate"]("orch.heal", pillar={"event": event})
    if seen["drift"] or seen["unknown"]:
        __context__["retcode"] = 1
        seen["retcode"] = 1
    return seen


def _may_correct():
    """Tell whether the pillar lets any kind of drift be put right without a person; each node goes by its own."""
    pillar, _ = fanatico_master.compiled(
        __opts__, fanatico_plan.nodes(fanatico_master.plan(__opts__), "master")[0]
    )
    return bool(fanatico_plan.get(pillar, "heal:auto_remediate_drift"))


def _note(seen, wanted):
    words = [f"{node}: {', '.join(one)}" for node, one in seen["drift"].items()]
    words += [f"{node} unknown" for node in seen["unknown"]]
    entry = fanatico_history.append(
        fanatico_record.history(__opts__),
        "drift",
        "found" if words else "none",
        reason="; ".join(words)[:500] or f"{len(wanted)} hosts are what the tree says",
        took=seen["took"],
    )
    with salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=False) as bus:
        bus.fire_event(entry, f"fanatico/drift/{entry['decision']}")
