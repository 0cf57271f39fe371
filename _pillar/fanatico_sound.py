"""
External pillar: the faults of a node's pillar, so that a highstate refuses to apply an invalid plan.

An orchestration validates the pillar first. A highstate also runs by itself, at boot and at night, while an operator may be
editing the plan. A minion cannot validate it, because it has no access to the schema.
"""

import json
import pathlib
from collections.abc import Mapping

import fanatico_plan
import fanatico_secrets
import fanatico_timing
import fanatico_validate


def ext_pillar(minion_id, pillar, schema):
    """
    Return ``{"unsound": [faults]}``; ``{}`` if there are none or the node is not in the plan.

    minion_id
        The node.
    pillar
        Its pillar from the SLS files and other external pillars.
    schema
        Path of the JSON Schema.
    """
    plan = pillar.get("plan")
    nodes = plan.get("nodes") if isinstance(plan, Mapping) else None
    node = nodes.get(minion_id) if isinstance(nodes, Mapping) else None
    if not isinstance(node, Mapping):
        return {}
    secrets = pillar.get("secrets")
    secrets = secrets if isinstance(secrets, Mapping) else {}
    # A node whose roles have no secrets gets none.
    whole = fanatico_timing.completed(dict(pillar) | {"secrets": secrets})
    roles = node.get("roles") or []
    needed, imported = fanatico_plan.secret_names(roles), fanatico_plan.imported_names(roles, pillar)
    found = [
        *fanatico_validate.faults(whole, json.loads(pathlib.Path(schema).read_text())),
        *fanatico_secrets.faults(secrets, needed, imported),
    ]
    return {"unsound": list(dict.fromkeys(found))} if found else {}
