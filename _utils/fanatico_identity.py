"""
What a cluster that runs cannot change in place: names, ports, addresses and places that its hosts agreed on when they met.

Changed on one host after the other, half of the cluster looks for the rest where it is not. Each host keeps what its daemons
were started with (``fanatico_identity.kept``), and no deploy or highstate goes past a difference. Pure.
"""

import fanatico_plan
from fanatico_components import COMPONENTS

_NEXT = (
    "A running cluster cannot change that in place, nothing was changed. Next: put the former value back; "
    'docs/operations.md, "What a running cluster keeps", has the way to another'
)


def facts(pillar, node, role):
    """
    Return ``{pillar path: value}`` of what the daemons of a role on a node live by.

    pillar
        After ``fanatico_plan.complete`` and ``fanatico_patroni_plan.completed``: what is written out is no change.
    """
    mine = [one for one in COMPONENTS if role in one.roles]
    paths = [path for one in mine for path in one.immutable]
    paths += [f"plan:ports:{port.name}" for one in mine for port in one.ports if port.immutable]
    if paths:
        paths.append(f"plan:nodes:{node}:address")
    return {path: fanatico_plan.get(pillar, path) for path in paths}


def differences(node, kept, now):
    """
    Return what differs as lines ``path: ...``, for people.

    node
        The host.
    kept
        ``{role: {path: value}}`` that it says its daemons were started with; whatever else that is, it counts for nothing.
    now
        ``{role: {path: value}}`` of the roles that the pillar gives it.
    """
    lines = []
    for role, wanted in now.items():
        had = kept.get(role) if isinstance(kept, dict) else None
        for path, value in wanted.items():
            if isinstance(had, dict) and path in had and had[path] != value:
                before = f"{had[path]!r}"[:80]
                lines.append(
                    f"{path}: {value!r} is not what the {role} of {node} was started with, {before}. {_NEXT}"
                )
    return lines
