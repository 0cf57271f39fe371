"""
Read the plan: nodes, roles, addresses, networks and ports. No I/O.

``plan`` is always the dict under the pillar key ``plan`` (see ``pillar/plan.sls``).
"""

import ipaddress
from collections.abc import Mapping

from fanatico_components import COMPONENTS, EVERY

ROLES = tuple(dict.fromkeys(role for component in COMPONENTS for role in component.roles if role != EVERY))

# The secrets of each role, in pillar/secrets/<role>.sls.
SECRETS = {
    role: names
    for role in ROLES
    if (
        names := tuple(
            name for component in COMPONENTS if role in component.roles for name in component.secrets
        )
    )
}

# Secrets that no rotation replaces.
LASTING = tuple(name for component in COMPONENTS for name in component.lasting)

# {role: {name: pillar path}}: secrets that others issue, needed only where the setting is not empty.
IMPORTED = {
    role: {
        name: path
        for component in COMPONENTS
        if role in component.roles
        for name, path in component.imported.items()
    }
    for role in ROLES
}

# Roles that a plan may leave out.
OPTIONAL = tuple(component.name for component in COMPONENTS if component.optional)

# Default ports, for plans that do not set them.
PORTS = {
    port.name: port.default
    for component in COMPONENTS
    for port in component.ports
    if port.default is not None
}


def port(plan, name):
    """Return the port ``name`` of the plan, or its default; None if there is neither."""
    return plan["ports"].get(name, PORTS.get(name))


def complete(plan):
    """Return the plan with default ports for those that it does not set."""
    return {**plan, "ports": {**PORTS, **plan["ports"]}}


def role_names():
    """Return the names of all roles."""
    return list(ROLES)


def get(data, path, default=None):
    """
    Return the value at a colon-separated path in nested dicts and lists.

    data
        A dict, usually ``__pillar__``. Values are never masked, unlike those of ``pillar.get`` in modules.
    path
        For example ``plan:virtual_ip:address``.
    default
        Returned if the path does not exist.
    """
    for key in path.split(":"):
        if isinstance(data, Mapping) and key in data:
            data = data[key]
        elif isinstance(data, list) and key.isdecimal() and int(key) < len(data):
            data = data[int(key)]
        else:
            return default
    return data


def present(data, path, default=None):
    """Return the value at a path, as ``get`` does; ``default`` also if the value is null."""
    value = get(data, path)
    return default if value is None else value


_ABSENT = object()


def setting(pillar, path):
    """
    Return a setting of the shipped pillar. There is no fallback: defaults are only in pillar/<component>.sls.

    pillar
        A node's pillar, usually ``__pillar__``.
    path
        For example ``etcd:data_dir``.

    Raises ``ValueError`` if this pillar lacks it.
    """
    value = get(pillar, path, _ABSENT)
    if value is _ABSENT:
        raise ValueError(
            f"{path} is missing in the pillar of this node, but set in pillar/{path.partition(':')[0]}.sls. "
            "Next: salt-run fanatico.validate, then saltutil.refresh_pillar on the node"
        )
    return value


def held(roles, name):
    """
    Tell whether a node with ``roles`` has the role or component ``name``.

    The one place that knows it. A role and a component of the same name are on the same nodes.
    """
    return name == EVERY or not {EVERY, *roles}.isdisjoint(_HOLDERS.get(name, (name,)))


_HOLDERS = {component.name: component.roles for component in COMPONENTS}


def components(roles):
    """Return the component records of a node with ``roles``: those of every node first, then those of its roles, in order."""
    found = (component for role in (EVERY, *roles) for component in COMPONENTS if role in component.roles)
    return list(dict.fromkeys(found))


def includes(roles, stage):
    """
    Return the states that ``salt/roles/<stage>.sls`` includes for a node with ``roles``.

    stage
        ``every``: the components of every node; ``prepared``: states that need no other machine; ``certified``: the certificates.

    Raises ``ValueError`` for any other stage.
    """
    mine = components(roles)
    if stage == "every":
        return [component.name for component in components([])]
    if stage == "prepared":
        return [sls for component in mine for sls in component.prepared]
    if stage == "certified":
        return [f"{component.name}.certified" for component in mine if component.pki]
    raise ValueError(f"unknown stage {stage!r}; known: every, prepared, certified")


def reserved():
    """Return the packages and services that only states upgrade or restart, ``{"packages": [...], "services": [...]}``."""
    return {
        kind: list(dict.fromkeys(name for component in COMPONENTS for name in getattr(component, kind)))
        for kind in ("packages", "services")
    }


def nodes(plan, name=None):
    """Return the ids of the nodes with the role or component ``name`` (default: all nodes), in plan order."""
    return [node for node, facts in plan["nodes"].items() if name is None or held(facts["roles"], name)]


def senders(plan, component):
    """Return the ids of the nodes that may connect to a port of the component named ``component``, in plan order."""
    names = {
        sender
        for record in COMPONENTS
        if record.name == component
        for port in record.ports
        for sender in port.senders
    }
    return [
        node for node, facts in plan["nodes"].items() if any(held(facts["roles"], name) for name in names)
    ]


def evicted(plan):
    """Return ``{id: {"address", "roles", ...}}`` of the evicted hosts (``orch.evict``); they are no nodes."""
    return dict(plan.get("evicted") or {})


def roles(plan, node):
    """Return the roles of ``node``; an empty list for a node that is not in the plan."""
    return list(plan["nodes"].get(node, {}).get("roles", []))


def has_role(plan, node, role):
    """Tell whether ``node`` holds ``role``."""
    return role in roles(plan, node)


def address(plan, node):
    """Return the address of ``node``; raises ``ValueError`` for a node that is not in the plan."""
    if node not in plan["nodes"]:
        raise ValueError(f"{node} is not in the plan: add it under plan:nodes in pillar/plan.sls")
    return plan["nodes"][node]["address"]


def addresses(plan, name=None):
    """Return ``{id: address}`` of the nodes with the role or component ``name`` (default: all nodes), in plan order."""
    return {node: plan["nodes"][node]["address"] for node in nodes(plan, name)}


def own_first(plan, name, me):
    """Return what ``addresses`` returns, with the node ``me`` first if it is one of them."""
    return dict(sorted(addresses(plan, name).items(), key=lambda item: item[0] != me))


def node_at(plan, ip):
    """Return the id of the node with address ``ip``, or None."""
    return next((name for name, node in plan["nodes"].items() if node["address"] == ip), None)


def peers(plan, role, node):
    """Return the ids of the nodes that hold ``role``, without ``node``."""
    return [name for name in nodes(plan, role) if name != node]


def network_of(plan, node):
    """Return ``(name, cidr)`` of the network of ``node``; raises ``ValueError`` if it is in none."""
    ip = ipaddress.ip_address(address(plan, node))
    for name, network in plan["networks"].items():
        if ip in ipaddress.ip_network(network["cidr"]):
            return name, network["cidr"]
    raise ValueError(
        f"{node} ({ip}) is in none of the plan's networks: correct plan:networks or plan:nodes:{node}:address"
    )


def subnets(plan, role=None):
    """Return the networks (cidr) of the nodes with ``role`` (default: all networks), in plan order."""
    if role is None:
        return [network["cidr"] for network in plan["networks"].values()]
    used = {network_of(plan, node)[0] for node in nodes(plan, role)}
    return [network["cidr"] for name, network in plan["networks"].items() if name in used]


def etcd_endpoints(plan):
    """Return the client URLs of all etcd members: ``["https://10.0.3.10:2379", ...]``."""
    return [f"https://{ip}:{plan['ports']['etcd_client']}" for ip in addresses(plan, "etcd").values()]


def secret_names(node_roles):
    """Return the names of the generated secrets that a node with ``node_roles`` gets."""
    return list(dict.fromkeys(name for role in SECRETS for name in SECRETS[role] if role in node_roles))


def imported_names(node_roles, pillar=None):
    """
    Return the names of the secrets of ``node_roles`` that others issue.

    pillar
        Only those that its settings need; without it all.
    """
    return list(
        dict.fromkeys(
            name
            for role in ROLES
            if role in node_roles
            for name, path in IMPORTED[role].items()
            if pillar is None or present(pillar, path)
        )
    )
