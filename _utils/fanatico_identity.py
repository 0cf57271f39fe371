"""
What a cluster that runs cannot change in place: names, ports, addresses and places that its hosts agreed on when they met.

Changed on one host after the other, half of the cluster looks for the rest where it is not. Each host keeps what its daemons
were started with (``fanatico_identity.kept``), and no deploy or highstate goes past a difference. Pure.
"""

import fanatico_plan

_PORTS = {
    "etcd": ("etcd_client", "etcd_peer"),
    "patroni": ("postgres", "patroni_rest"),
    "haproxy": (
        "rpc_http",
        "rpc_ws",
        "postgres_primary",
        "postgres_replica",
        "haproxy_peers",
    ),
    "rpc": ("rpc_http", "rpc_ws", "rpc_agent"),
}
# Pillar paths.
_SETTINGS: dict[str, tuple[str, ...]] = {
    "etcd": ("plan:name", "etcd:data_dir"),  # Patroni's keys stand under the name
    "patroni": ("plan:name", "postgresql:version", "postgresql:data_dir"),
    "haproxy": ("plan:virtual_ip:address", "plan:virtual_ip:router_id"),
    "rpc": (),
}
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
    get = fanatico_plan.get
    plan = pillar["plan"]
    found = {path: get(pillar, path) for path in _SETTINGS.get(role, ())}
    found |= {f"plan:ports:{name}": get(pillar, f"plan:ports:{name}") for name in _PORTS.get(role, ())}
    if role in _SETTINGS:
        found[f"plan:nodes:{node}:address"] = plan["nodes"][node]["address"]
    return found


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
