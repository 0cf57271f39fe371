"""
Settings that a running cluster cannot change in place: names, ports, addresses and data directories. Pure.

A change on one host after the other would split the cluster: one half would look for the other at the wrong place. Each host
records the values that its daemons were started with (``fanatico_identity.kept``), and a deploy or highstate stops at a
difference.
"""

import fanatico_plan
from fanatico_components import COMPONENTS

_NEXT = (
    "A running cluster cannot change this in place; nothing was changed. Next: restore the former value; to change it, see "
    'docs/operations.md, "What a running cluster keeps"'
)


def facts(pillar, node, role):
    """
    Return the immutable settings of a role on a node, ``{pillar path: value}``.

    pillar
        After ``fanatico_plan.complete`` and ``fanatico_patroni_plan.completed``, so that writing out a default is no change.
    node
        Its id.
    role
        For example ``etcd``.
    """
    mine = [component for component in COMPONENTS if role in component.roles]
    paths = [path for component in mine for path in component.immutable]
    paths += [f"plan:ports:{port.name}" for component in mine for port in component.ports if port.immutable]
    if paths:
        paths.append(f"plan:nodes:{node}:address")
    return {path: fanatico_plan.get(pillar, path) for path in paths}


def differences(node, kept, now):
    """
    Return the differences as lines ``path: ...`` for operators.

    node
        The host.
    kept
        The values that its daemons were started with, ``{role: {path: value}}``; any other type is ignored.
    now
        The values in the pillar, ``{role: {path: value}}``.
    """
    lines = []
    for role, wanted in now.items():
        had = kept.get(role) if isinstance(kept, dict) else None
        for path, value in wanted.items():
            if isinstance(had, dict) and path in had and had[path] != value:
                before = f"{had[path]!r}"[:80]
                lines.append(
                    f"{path}: {value!r} differs from {before}, with which {role} on {node} was started. {_NEXT}"
                )
    return lines
