"""
External pillar: schedule a job that separates the leaders of etcd and Patroni, where they could share a failure domain.

The job runs on the etcd nodes, so that it works without a Salt master.
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
    Return ``{"schedule": {"apart": ...}}`` for an etcd node that shares a failure domain with a Patroni node, else ``{}``.

    minion_id
        The node.
    pillar
        Its pillar from the SLS files.
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
