"""
Questions about the plan, answered without I/O.

``plan`` is always the dict under the pillar key ``plan`` (see ``pillar/plan.sls``).
"""

import ipaddress
from collections.abc import Mapping

ROLES = ("master", "etcd", "patroni", "haproxy", "rpc")

# The names each role's secrets file (pillar/secrets/<role>.sls) holds.
SECRETS = {
    "patroni": (
        "PATRONI_REST_PASSWORD",
        "POSTGRES_SUPERUSER_PASSWORD",
        "POSTGRES_ADMIN_PASSWORD",
        "POSTGRES_REPLICATOR_PASSWORD",
        "POSTGRES_REWIND_PASSWORD",
        "POSTGRES_FANATICO_PASSWORD",
        "POSTGRES_PROOF_PASSWORD",
        "ETCD_PATRONI_PASSWORD",
    ),
    "haproxy": ("HAPROXY_STATS_PASSWORD", "KEEPALIVED_AUTH_PASS"),
    # Patroni's password is in both: etcd's nodes make the user that Patroni's log in as.
    "etcd": ("ETCD_CLUSTER_TOKEN", "ETCD_ROOT_PASSWORD", "ETCD_PATRONI_PASSWORD", "ETCD_TOKEN_KEY"),
}


# Ports that a plan need not name.
PORTS = {"rpc_agent": 8547, "haproxy_peers": 8405, "edge_stats": 8406}


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


def nodes(plan, role=None):
    """Return the ids of the nodes that hold ``role`` (all nodes without one), in plan order."""
    return [name for name, node in plan["nodes"].items() if role is None or role in node["roles"]]


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


def addresses(plan, role=None):
    """Return ``{id: address}`` of the nodes that hold ``role`` (all nodes without one), in plan order."""
    return {name: plan["nodes"][name]["address"] for name in nodes(plan, role)}


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
