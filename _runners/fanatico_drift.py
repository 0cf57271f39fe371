"""
Drift: differences between the hosts and what their highstate would write.
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
    Compare hosts with what their highstate would write: files, packages, units, firewall, the settings in etcd.

    A dry run that changes nothing, unless pillar ``heal:auto_remediate_drift`` names kinds of drift to correct: the guard decides
    about those, as about every cure. `salt NODE state.highstate` corrects the rest. The master's schedule runs it every night.

    nodes
        A list of nodes; all of the plan without it.
    at_once
        How many hosts are compared at the same time.
    timeout
        Seconds for each such group.

    Returns ``{"drift": {node: {state: {"kind", "would"}}}, "unknown": {node: why}, "took": seconds}``, and writes an entry to the
    history. ``salt-run`` ends with exit code 1 where a host has drifted or did not answer.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.drift
        salt-run fanatico.drift nodes='[db1, db2]'
    """
    begun = time.monotonic()
    plan = fanatico_master.plan(__opts__)
    of_plan = fanatico_plan.nodes(plan)
    nodes = fanatico_master.known(plan, nodes or of_plan)
    wanted, answers = [node for node in of_plan if node in nodes], {}
    for first in range(0, len(wanted), int(at_once)):
        group = wanted[first : first + int(at_once)]
        answers |= fanatico_sweep.fanout(__opts__, group, "fanatico_node.drift", timeout=float(timeout))
    known = {node: states for node, states in answers.items() if isinstance(states, dict)}
    seen = {
        "drift": {node: states for node, states in known.items() if states},
        "unknown": {
            node: str(answers.get(node, "no answer")).strip().rpartition("\n")[2]
            for node in wanted
            if node not in known
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
    """Return whether the master's pillar allows any kind of drift to be corrected; each node then checks its own pillar."""
    pillar, _ = fanatico_master.compiled(
        __opts__, fanatico_plan.nodes(fanatico_master.plan(__opts__), "master")[0]
    )
    return bool(fanatico_plan.get(pillar, "heal:auto_remediate_drift"))


def _note(seen, wanted):
    words = [f"{node}: {', '.join(states)}" for node, states in seen["drift"].items()]
    words += [f"{node} unknown" for node in seen["unknown"]]
    entry = fanatico_history.append(
        fanatico_record.history(__opts__),
        "drift",
        "found" if words else "none",
        reason="; ".join(words)[:500] or f"no drift on {len(wanted)} hosts",
        took=seen["took"],
    )
    with salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=False) as bus:
        bus.fire_event(entry, f"fanatico/drift/{entry['decision']}")
