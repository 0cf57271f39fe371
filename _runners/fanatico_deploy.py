"""
What orch.deploy must know of the live system before it acts: the decisions between a first start and a change.
"""

import fanatico_master
import fanatico_plan
import fanatico_sweep

__virtualname__ = "fanatico"


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def etcd_bootstrap():
    """
    Tell whether the etcd nodes make a first cluster: only when none of them holds data and none is a member.

    Returns True or False. Refuses when a node does not answer, since its data decides.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.etcd_bootstrap
    """
    states = _ask("etcd", "fanatico_etcd.local_state")
    return not any(state["data_dir"] or state["member"] for state in states.values())


def patroni_first():
    """
    Tell which Patroni nodes are brought up first, together: those that hold data, else only the plan's first.

    Nodes that hold data settle among themselves who leads; a node without any copies from that leader, so it waits.
    Returns a list of minion ids, the present leader in front. Refuses when a node does not
    answer.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.patroni_first
    """
    states = _ask("patroni", "fanatico_patroni.local_state")
    leaders = {state["leader"] for state in states.values()}
    with_data = [node for node, state in states.items() if state["data_dir"]]
    return sorted(with_data, key=lambda node: node not in leaders) or list(states)[:1]


def _ask(role, function, timeout=20):
    """Return {node: answer} of a function on every node of a role, in the plan's order."""
    nodes = fanatico_plan.nodes(fanatico_master.plan(__opts__), role)
    answers = fanatico_sweep.fanout(__opts__, nodes, function, (), timeout)
    for node in nodes:
        if not isinstance(answers.get(node), dict):
            said = str(answers.get(node, "no answer"))[-300:]
            fanatico_master.refuse(
                f"{node} did not tell what it holds ({said}), and a deploy decides from that; "
                f"look at `salt {node} {function}`, then run the deploy again."
            )
    return {node: answers[node] for node in nodes}
