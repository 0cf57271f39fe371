"""
Questions about the plan, answered without I/O.

``plan`` is always the dict under the pillar key ``plan`` (see ``pillar/plan.sls``).
"""

import ipaddress
from collections.abc import Mapping

from fanatico_components import COMPONENTS, EVERY

ROLES = tuple(dict.fromkeys(role for one in COMPONENTS for role in one.roles if role != EVERY))

# The names each role's secrets file (pillar/secrets/<role>.sls) holds.
SECRETS = {
    role: names
    for role in ROLES
    if (names := tuple(name for one in COMPONENTS if role in one.roles for name in one.secrets))
}

# Ports that a plan need not name.
PORTS = {port.name: port.default for one in COMPONENTS for port in one.ports if port.default is not None}


def port(plan, name):
    """Return the port of the plan named ``name``, or the usual one; None where there is neither."""
    return plan["ports"].get(name, PORTS.get(name))


def complete(plan):
    """Return the plan with the usual ports for those that it does not name."""
    return {**plan, "ports": {**PORTS, **plan["ports"]}}


def role_names():
    """Return the names of all roles there are."""
    return list(ROLES)


def get(data, path, default=None):
    """
    Return the value at a colon-separated path in nested dicts and lists.

    data
        A dict, usually ``__pillar__``. Read this way it is never masked, unlike ``pillar.get`` in modules.
    path
        For example ``plan:virtual_ip:address``.
    default
        Returned where the path leads nowhere.
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
    """Return what ``get`` does, and ``default`` also where there is nothing (``null``) at the path."""
    value = get(data, path)
    return default if value is None else value


_ABSENT = object()


def setting(pillar, path):
    """
    Return a setting that the shipped pillar has; raises ``ValueError`` where this pillar lacks it.

    There is no default to fall back on: pillar/<component>.sls is the only place where one stands.

    pillar
        A node's, usually ``__pillar__``.
    path
        For example ``etcd:data_dir``.
    """
    value = get(pillar, path, _ABSENT)
    if value is _ABSENT:
        raise ValueError(
            f"{path} is not in the pillar of this node, though pillar/{path.partition(':')[0]}.sls has it. "
            "Next: salt-run fanatico.validate, then saltutil.refresh_pillar on the node"
        )
    return value


def held(roles, name):
    """
    Tell whether a node with ``roles`` has the role or component ``name``.

    The one place that knows it. A role and a component of the same name are on the same nodes.
    """
    return name == EVERY or not {EVERY, *roles}.isdisjoint(_HOLDERS.get(name, (name,)))


_HOLDERS = {one.name: one.roles for one in COMPONENTS}


def components(roles):
    """Return the records of the components of a node with ``roles``: those of every node first, then by its roles."""
    return list(dict.fromkeys(one for role in (EVERY, *roles) for one in COMPONENTS if role in one.roles))


def includes(roles, stage):
    """
    Return the states that a node with ``roles`` has in one of ``salt/roles/``.

    stage
        ``every``: the components of every node; ``prepared``: what needs no other machine; ``certified``: the certificates.
    """
    mine = components(roles)
    if stage == "every":
        return [one.name for one in components([])]
    if stage == "prepared":
        return [sls for one in mine for sls in one.prepared]
    if stage == "certified":
        return [f"{one.name}.certified" for one in mine if one.pki]
    raise ValueError(f"{stage!r} is none of every, prepared, certified")


def reserved():
    """Return what only the states of any component upgrade and restart, ``{"packages": [...], "services": [...]}``."""
    return {
        kind: list(dict.fromkeys(name for one in COMPONENTS for name in getattr(one, kind)))
        for kind in ("packages", "services")
    }


def nodes(plan, name=None):
    """Return the ids of the nodes that have the role or component ``name`` (all nodes without one), in plan order."""
    return [node for node, one in plan["nodes"].items() if name is None or held(one["roles"], name)]


def senders(plan, component):
    """Return the ids of the nodes that may connect to a port of ``component``, in plan order."""
    words = {
        word for one in COMPONENTS if one.name == component for port in one.ports for word in port.senders
    }
    return [node for node, one in plan["nodes"].items() if any(held(one["roles"], word) for word in words)]


def evicted(plan):
    """Return ``{id: {"address", "roles", ...}}`` of the hosts that are shut out for good (``orch.evict``); none is a node."""
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
    """Return ``{id: address}`` of the nodes that have the role or component ``name`` (all nodes without one), in plan order."""
    return {node: plan["nodes"][node]["address"] for node in nodes(plan, name)}


def own_first(plan, name, me):
    """Return what ``addresses`` does, with the node ``me`` first where it is one of them: it is asked before the others."""
    return dict(sorted(addresses(plan, name).items(), key=lambda item: item[0] != me))


def node_at(plan, ip):
    """Return the id of the node with address ``ip``, or None."""
    return next((name for name, node in plan["nodes"].items() if node["address"] == ip), None)


def peers(plan, role, node):
    """Return the ids of the nodes that hold ``role``, without ``node``."""
    return [name for name in nodes(plan, role) if name != node]


def network_of(plan, node):
    """Return ``(name, cidr)`` of the network ``node`` stands in; raises ``ValueError`` when it is in none."""
    ip = ipaddress.ip_address(address(plan, node))
    for name, network in plan["networks"].items():
        if ip in ipaddress.ip_network(network["cidr"]):
            return name, network["cidr"]
    raise ValueError(f"{node} ({ip}) is in none of the plan's networks")


def subnets(plan, role=None):
    """Return the networks (cidr) in which nodes with ``role`` stand (all without one), in plan order."""
    if role is None:
        return [network["cidr"] for network in plan["networks"].values()]
    used = {network_of(plan, node)[0] for node in nodes(plan, role)}
    return [network["cidr"] for name, network in plan["networks"].items() if name in used]


def etcd_endpoints(plan):
    """Return the client URLs of all etcd members: ``["https://10.0.3.10:2379", ...]``."""
    return [f"https://{ip}:{plan['ports']['etcd_client']}" for ip in addresses(plan, "etcd").values()]


def secret_names(node_roles):
    """Return the names of the secrets that a node with ``node_roles`` may see."""
    return list(dict.fromkeys(name for role in SECRETS for name in SECRETS[role] if role in node_roles))
