"""
What a node's roles do not need is taken out of its pillar: what ``pillar/site/init.sls`` says reaches every node.
"""

from collections.abc import Mapping, MutableMapping

import fanatico_plan
from fanatico_components import COMPONENTS


def ext_pillar(minion_id, pillar):
    """
    Return ``{}``, and take from ``pillar`` what is for nodes of another role alone.

    minion_id
        The node. One that the plan does not know is given nothing of it.
    pillar
        What the SLS files gave it; changed in place, since what an external pillar returns is merged and takes nothing away.
    """
    plan = pillar.get("plan")
    nodes = plan.get("nodes") if isinstance(plan, Mapping) else None
    node = nodes.get(minion_id) if isinstance(nodes, Mapping) else None
    roles = (node.get("roles") or []) if isinstance(node, Mapping) else []
    for path in (
        path for one in COMPONENTS if not fanatico_plan.held(roles, one.name) for path in one.private
    ):
        setting, key = path.split(":")
        if isinstance(pillar.get(setting), MutableMapping):
            pillar[setting].pop(key, None)
    return {}
