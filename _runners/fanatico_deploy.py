"""
What orch.deploy reads from the live system: whether etcd and Patroni are started for the first time or changed.
"""

import secrets

import fanatico_etcd_plan
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
    Return ``{"bootstrap": value}`` with which the etcd nodes bootstrap a new cluster, used once; empty where a cluster exists.

    A new cluster is bootstrapped only where none of them has data and none is a member. Raises where a node does not answer,
    since it may have data, and where a database has data: then etcd has lost its own, and ``orch.recover_etcd`` is the way back.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.etcd_bootstrap
    """
    states = _ask("etcd", "fanatico_etcd.local_state")
    usable = [node for node, state in states.items() if state["data_dir"] and not state["lost"]]
    if any(state["member"] for state in states.values()) or len(usable) >= fanatico_etcd_plan.quorum(
        len(states)
    ):
        return {"bootstrap": ""}
    databases = _ask("patroni", "fanatico_patroni.local_state")
    with_data = [node for node, state in databases.items() if state["data_dir"]]
    if with_data:
        lost = [node for node in states if node not in usable]
        fanatico_master.refuse(
            f"etcd has lost the data of {', '.join(lost)}, and no quorum is possible, while {', '.join(with_data)} has data of "
            "PostgreSQL. Next: salt-run state.orchestrate orch.recover_etcd, which keeps that data and its primary; then run the "
            "deploy again."
        )
    if usable:
        fanatico_master.refuse(
            f"{', '.join(usable)} has data of etcd, too few for a quorum. Next: start etcd where it has data; if an earlier "
            "deploy was interrupted there and the data is not needed: systemctl stop etcd, move /var/lib/etcd/member away, and "
            "run the deploy again."
        )
    return {"bootstrap": secrets.token_hex(8)}


def patroni_first():
    """
    Return which Patroni nodes are started first, together: those with data, else only the first of the plan.

    Nodes with data elect the leader; a node without data is cloned from that leader, so it is started later.

    Returns a list of minion ids, the present leader first. Raises where a node does not answer, and where no node has data while
    a backup host has backups: they are restored by ``orch.restore``, and not followed by a new, empty cluster.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.patroni_first
    """
    states = _ask("patroni", "fanatico_patroni.local_state")
    leaders = {state["leader"] for state in states.values()}
    with_data = [node for node, state in states.items() if state["data_dir"]]
    if not with_data:
        _refuse_an_empty_cluster()
    return sorted(with_data, key=lambda node: node not in leaders) or list(states)[:1]


def _refuse_an_empty_cluster():
    """Raise where a backup host has backups of a cluster of which no database host has data."""
    hosts = fanatico_plan.nodes(fanatico_master.plan(__opts__), "backup")
    counts = fanatico_sweep.fanout(__opts__, hosts, "fanatico_backup.count", (), 40)
    for host in hosts:
        if not isinstance(counts.get(host), int):
            answer = str(counts.get(host, "no answer"))[-300:]
            fanatico_master.refuse(
                f"No database host has data, and {host} did not report whether it has backups of a cluster ({answer}). "
                f"Next: salt {host} fanatico_backup.count, then run the deploy again."
            )
        if counts[host]:
            fanatico_master.refuse(
                f"No database host has data, and {host} has {counts[host]} backups of a cluster. A new, empty one is not "
                f'founded beside them. Next: salt-run state.orchestrate orch.restore pillar=\'{{"target": "latest"}}\', which '
                f"restores them here; for an empty cluster: set backup:path to a new directory, then run the deploy again."
            )


def _ask(role, function, timeout=20):
    """Return {node: answer} of a function on every node of a role, in the plan's order."""
    nodes = fanatico_plan.nodes(fanatico_master.plan(__opts__), role)
    answers = fanatico_sweep.fanout(__opts__, nodes, function, (), timeout)
    for node in nodes:
        if not isinstance(answers.get(node), dict):
            answer = str(answers.get(node, "no answer"))[-300:]
            fanatico_master.refuse(
                f"{node} did not report whether it has data ({answer}). The deploy needs that to choose between a first start "
                f"and a change. Next: salt {node} {function}, then run the deploy again."
            )
    return {node: answers[node] for node in nodes}
