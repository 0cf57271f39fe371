"""
Validate the pillar, compiled as for the minions, before anything is changed.
"""

import json
import pathlib

import fanatico_identity
import fanatico_master
import fanatico_patroni_plan
import fanatico_pki
import fanatico_plan
import fanatico_secrets
import fanatico_sweep
import fanatico_timing
import fanatico_validate

__virtualname__ = "fanatico"

_ASK = 5  # seconds for the hosts to return the settings that they were started with


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def validate():
    """
    Check the whole pillar: plan, settings, secrets, and which node has which of them. Changes nothing.

    Compiles the pillar of one node for each combination of roles, GPG and site overrides included, and reports all faults at
    once: the pillar path, what is wrong, and what would be right.

    Returns a short summary: ``{"plan", "nodes", "roles", "secrets"}``. Raises where anything is wrong, so that ``salt-run`` ends
    with exit code 1 and an orchestration stops.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.validate
    """
    plan = fanatico_master.plan(__opts__)
    samples = _samples(plan)
    pillars, faults = _compiled(samples)
    if not faults:  # the rest cannot be checked while a file does not render
        faults = _faults(plan, samples, pillars)
    if not faults:
        faults = _fixed(plan, pillars)
    if faults:
        lines = "".join(f"\n  - {fault}" for fault in dict.fromkeys(faults))
        fanatico_master.refuse(f"The pillar is not valid, nothing was changed:{lines}")
    roles = fanatico_plan.role_names()
    return {
        "plan": plan["name"],
        "nodes": len(plan["nodes"]),
        "roles": {role: len(fanatico_plan.nodes(plan, role)) for role in roles},
        "secrets": len({name for pillar in pillars.values() for name in _secrets(pillar)}),
    }


def _samples(plan):
    """Return ``{id: roles}`` with one node for each combination of roles, as far as the plan can be read."""
    nodes = plan.get("nodes") if isinstance(plan, dict) else None
    samples = {}
    for name, node in nodes.items() if isinstance(nodes, dict) else ():
        roles = node.get("roles") if isinstance(node, dict) else None
        if isinstance(name, str) and isinstance(roles, list):
            roles = [str(role) for role in roles]
            samples.setdefault(frozenset(roles), (name, roles))
    return dict(samples.values())


def _compiled(nodes):
    """Return ``({node: its pillar}, [what did not render])``."""
    pillars, faults = {}, []
    for node in nodes:
        pillars[node], errors = fanatico_master.compiled(__opts__, node)
        faults += errors
    return pillars, faults


def _faults(plan, samples, pillars):
    secrets = {name: value for pillar in pillars.values() for name, value in _secrets(pillar).items()}
    whole = {"plan": plan} | _together(pillars) | {"secrets": secrets}
    schema = json.loads((fanatico_master.root(__opts__) / "schema.json").read_text())
    found = fanatico_validate.faults(fanatico_timing.completed(whole), schema)
    if not pillars:  # the plan has no usable node: only the plan can be checked
        return [fault for fault in found if fault.startswith("plan")]
    allowed = {
        node: [*fanatico_plan.secret_names(roles), *fanatico_plan.imported_names(roles)]
        for node, roles in samples.items()
    }
    every = [role for roles in samples.values() for role in roles]
    needed, imported = fanatico_plan.secret_names(every), fanatico_plan.imported_names(every, whole)
    given = {node: list(_secrets(pillar)) for node, pillar in pillars.items()}
    return [
        *found,
        *fanatico_secrets.faults(_secrets(whole), needed, imported),
        *fanatico_secrets.misplaced(given, allowed),
        *_overridden_topology(plan, whole),
        *_absent_artifact(whole),
        *_absent_authorities(pillars, samples),
    ]


def _fixed(plan, pillars):
    """
    Return a line for each setting that the hosts that answer cannot change in place.

    Once for each setting, whatever number of hosts was started with another value. A new host was started with none.
    """
    common = _together(pillars)
    whole = {
        **fanatico_patroni_plan.completed(common),
        "plan": fanatico_plan.complete(common.get("plan", plan)),
    }
    answers = fanatico_sweep.fanout(__opts__, list(plan["nodes"]), "fanatico_identity.kept", timeout=_ASK)
    faults: dict[str, str] = {}
    for node in plan["nodes"]:
        now = {role: fanatico_identity.facts(whole, node, role) for role in plan["nodes"][node]["roles"]}
        for fault in fanatico_identity.differences(node, answers.get(node), now):
            faults.setdefault(fault.partition(": ")[0], fault)  # a line begins with the setting's path
    return list(faults.values())


def _together(pillars):
    """
    Return one pillar for all nodes: of each key the value with the most entries.

    A node that does not get a file of settings still has the overrides of site/, and from some nodes settings are withheld
    (_pillar/fanatico_withheld.py).
    """
    keys = dict.fromkeys(key for pillar in pillars.values() for key in pillar)
    return {
        key: max((pillar[key] for pillar in pillars.values() if key in pillar), key=_size) for key in keys
    }


def _size(value):
    """Return the number of entries in a value, nested ones included."""
    return 1 + sum(map(_size, value.values())) if isinstance(value, dict) else 1


def _secrets(pillar):
    secrets = pillar.get("secrets")
    return secrets if isinstance(secrets, dict) else {}


def _overridden_topology(plan, whole):
    """Return a line for each key of the topology that is overridden; the pillar's top file and the roster read plan.sls alone."""
    merged = whole["plan"]
    if not isinstance(plan, dict) or not isinstance(merged, dict):
        return []
    return [
        f"plan:{key}: overridden outside plan.sls, which the roster and the top file do not read; change it in plan.sls"
        for key in ("networks", "virtual_ip", "nodes", "evicted")
        if merged.get(key) != plan.get(key)
    ]


def _absent_authorities(pillars, samples):
    """Return a line for each missing authority; without it nodes get no certificates, and no service starts."""
    missing = {
        name
        for node, roles in samples.items()
        for name in fanatico_pki.authorities(roles)
        if not fanatico_plan.get(pillars[node], f"pki:trust:{name}")
    }
    return [
        f"pki:trust:{name}: the master does not have this certificate authority; run salt-run fanatico.secrets_init"
        for name in sorted(missing)
    ]


def _absent_artifact(whole):
    """Return a line for a salt:// artifact that is not in the master's file roots; unchecked with another file server."""
    source = fanatico_plan.get(whole, "rpc:artifact:source")
    if not str(source).startswith("salt://") or __opts__.get("fileserver_backend", ["roots"]) != ["roots"]:
        return []
    roots = __opts__["file_roots"].get("base", [])
    if any(pathlib.Path(root, source.removeprefix("salt://")).is_file() for root in roots):
        return []
    return [f"rpc:artifact:source: {source} does not exist; put the file under {' or '.join(roots)}"]
