"""
What is wrong with a node's pillar, as pillar: a highstate refuses to work by a plan that nobody has checked.

An orchestration validates the pillar first. A highstate comes by itself too, at boot and at night, and a plan may be in
the middle of being edited then. A minion cannot check it: the schema is not its to read.
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
    Return ``{"unsound": [faults]}`` where there are any, ``{}`` where there are none or the plan does not know the node.

    minion_id
        The node.
    pillar
        What the SLS files and other external pillars gave it.
    schema
        The JSON Schema's file.
    """
    plan = pillar.get("plan")
    nodes = plan.get("nodes") if isinstance(plan, Mapping) else None
    node = nodes.get(minion_id) if isinstance(nodes, Mapping) else None
    if not isinstance(node, Mapping):
        return {}
    secrets = pillar.get("secrets")
    secrets = secrets if isinstance(secrets, Mapping) else {}
    # A node whose roles have no secrets is given none.
    whole = fanatico_timing.completed(dict(pillar) | {"secrets": secrets})
    needed = fanatico_plan.secret_names(node.get("roles") or [])
    found = [
        *fanatico_validate.faults(whole, json.loads(pathlib.Path(schema).read_text())),
        *fanatico_secrets.faults(secrets, needed),
    ]
    return {"unsound": list(dict.fromkeys(found))} if found else {}
