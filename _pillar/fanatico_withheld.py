"""
External pillar: remove private settings of other roles from a node's pillar, because ``pillar/site/init.sls`` reaches every node.
"""

from collections.abc import Mapping, MutableMapping

import fanatico_plan
from fanatico_components import COMPONENTS


def ext_pillar(minion_id, pillar):
    """
    Remove the private settings of components that the node does not have from ``pillar``, and return ``{}``.

    minion_id
        The node. A node that is not in the plan keeps no private setting.
    pillar
        Its pillar from the SLS files; changed in place, because the return value is merged and cannot remove anything.
    """
    plan = pillar.get("plan")
    nodes = plan.get("nodes") if isinstance(plan, Mapping) else None
    node = nodes.get(minion_id) if isinstance(nodes, Mapping) else None
    roles = (node.get("roles") or []) if isinstance(node, Mapping) else []
    for path in (
        path
        for component in COMPONENTS
        if not fanatico_plan.held(roles, component.name)
        for path in component.private
    ):
        setting, key = path.split(":")
        if isinstance(pillar.get(setting), MutableMapping):
            pillar[setting].pop(key, None)
    return {}
