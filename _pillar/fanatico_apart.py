"""
Where etcd's leader could share a host or a failure domain with Patroni's, as pillar: a job that keeps them apart.

It runs on etcd's own nodes: losing both leaders at once must cost no more with a dead Salt master than without.
"""

from collections.abc import Mapping

import fanatico_plan

JOB = {
    "function": "fanatico_etcd.enforce_leader_separation",
    "seconds": 30,
    "splay": 10,
    "maxrunning": 1,
    "return_job": False,
}


def ext_pillar(minion_id, pillar):
    """
    Return ``{"schedule": {"apart": ...}}`` for an etcd node that a Patroni node may go down with, ``{}`` for any other.

    minion_id
        The node.
    pillar
        What the SLS files gave it.
    """
    plan = pillar.get("plan")
    nodes = plan.get("nodes") if isinstance(plan, Mapping) else None
    if not isinstance(nodes, Mapping) or not all(isinstance(node, Mapping) for node in nodes.values()):
        return {}

    def domains(role):
        return {
            name: node.get("failure_domain", name)
            for name, node in nodes.items()
            if fanatico_plan.held(node.get("roles") or [], role)
        }

    mine = domains("etcd").get(minion_id)
    return {"schedule": {"apart": JOB}} if mine in domains("patroni").values() else {}
