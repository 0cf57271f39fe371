"""
Is the pillar sound? Looked at as the minions will see it, before anything is touched.
"""

import json
import pathlib

__virtualname__ = "fanatico"


def __virtual__():
    return __virtualname__


def validate():
    """
    Check the whole pillar (plan, settings, secrets, and who is given which) and change nothing.

    Compiles the pillar of one node for each combination of roles, GPG and site overrides included, and names
    every fault at once: its pillar path, what is wrong, what would be right.

    Returns a short summary: ``{"plan", "nodes", "roles", "secrets"}``. Raises when anything is wrong, so that
    ``salt-run`` ends with 1 and an orchestration stops.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.validate
    """
    plan = __utils__["fanatico_master.plan"](__opts__)
    whole, faults = _whole(plan)
    if not faults:
        schema = json.loads((__utils__["fanatico_master.root"](__opts__) / "schema.json").read_text())
        faults = __utils__["fanatico_validate.faults"](whole, schema)
        faults += _weak_secrets(plan, whole)
        faults += _overridden_topology(plan, whole)
        faults += _absent_artifact(whole)
        if len(whole) == 1:  # no node could be asked, so nothing is known beyond the plan
            faults = [fault for fault in faults if fault.startswith("plan")]
    if faults:
        lines = "".join(f"\n  - {fault}" for fault in dict.fromkeys(faults))
        __utils__["fanatico_master.refuse"](f"The pillar is not sound, nothing was changed:{lines}")
    return {
        "plan": plan["name"],
        "nodes": len(plan["nodes"]),
        "roles": {
            role: len(__utils__["fanatico_plan.nodes"](plan, role))
            for role in __utils__["fanatico_plan.role_names"]()
        },
        "secrets": len(whole["secrets"]),
    }


def _whole(plan):
    """Return (all nodes' pillars in one, faults met on the way there)."""
    whole, faults = {"plan": plan}, []
    for node, roles in _samples(plan):
        pillar, errors = __utils__["fanatico_master.compiled"](__opts__, node)
        secrets = whole.get("secrets", {}) | (pillar.get("secrets") or {})
        whole |= pillar | {"secrets": secrets}
        allowed = __utils__["fanatico_plan.secret_names"](roles)
        faults += errors or __utils__["fanatico_secrets.misplaced"](
            node, pillar.get("secrets") or (), allowed
        )
    return whole, faults


def _samples(plan):
    """Return (node, roles) of one node for each combination of roles."""
    nodes = plan.get("nodes") if isinstance(plan, dict) else None
    samples = {}
    for name, node in nodes.items() if isinstance(nodes, dict) else ():
        roles = node.get("roles") if isinstance(node, dict) else None
        if isinstance(name, str) and isinstance(roles, list):
            samples.setdefault(frozenset(map(str, roles)), (name, roles))
    return samples.values()


def _weak_secrets(plan, whole):
    held = {role for _, roles in _samples(plan) for role in roles}
    return __utils__["fanatico_secrets.faults"](
        whole.get("secrets", {}), __utils__["fanatico_plan.secret_names"](held)
    )


def _overridden_topology(plan, whole):
    """The pillar's top file and the roster read plan.sls alone."""
    merged = whole["plan"]
    if not isinstance(plan, dict) or not isinstance(merged, dict):
        return []
    return [
        f"plan:{key}: overridden outside plan.sls, where not everything would see it; change it in plan.sls"
        for key in ("networks", "virtual_ip", "nodes")
        if merged.get(key) != plan.get(key)
    ]


def _absent_artifact(whole):
    """A salt:// artefact must lie in the master's file roots; not asked where another file server is in use."""
    source = __utils__["fanatico_plan.get"](whole, "rpc:artifact:source")
    if not str(source).startswith("salt://") or __opts__.get("fileserver_backend", ["roots"]) != ["roots"]:
        return []
    roots = __opts__["file_roots"].get("base", [])
    if any(pathlib.Path(root, source.removeprefix("salt://")).is_file() for root in roots):
        return []
    return [f"rpc:artifact:source: {source} is not there; put the file under {' or '.join(roots)}"]
