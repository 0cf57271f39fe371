"""
The plan in this minion's pillar.

The functions of ``_utils/fanatico_plan.py`` with this node's plan and id filled in, for Jinja
(``salt['fanatico_plan.nodes']('etcd')``) and for operators.
"""

import fanatico_plan
import fanatico_timing


def _plan():
    plan = __pillar__.get("plan")
    if not plan:
        raise ValueError(f"{__opts__['id']} has no plan in its pillar. Next: salt-run fanatico.validate")
    return plan


def _ask(question, *args):
    return question(_plan(), *args)


def _or_me(node):
    return node or __opts__["id"]


def nodes(name: str | None = None) -> list[str]:
    """
    Return the ids of the nodes with a role or component, in plan order.

    name
        The role or component; default: all nodes.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.nodes etcd
    """
    return _ask(fanatico_plan.nodes, name)


def roles(node: str | None = None) -> list[str]:
    """
    Return the roles of a node; an empty list for a node that is not in the plan.

    node
        A node id; default: this node.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_plan.roles
    """
    return _ask(fanatico_plan.roles, _or_me(node))


def has_role(role: str, node: str | None = None) -> bool:
    """
    Return whether a node has a role.

    role
        For example ``patroni``.
    node
        A node id; default: this node.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_plan.has_role patroni
    """
    return _ask(fanatico_plan.has_role, _or_me(node), role)


def port(name: str) -> int:
    """
    Return a port of the plan, or its default if the plan does not set it.

    name
        A key of ``plan:ports``.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_plan.port rpc_agent
    """
    return _ask(fanatico_plan.port, name)


def address(node: str | None = None) -> str:
    """
    Return the address of a node; raise for a node that is not in the plan.

    node
        A node id; default: this node.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.address etcd1
    """
    return _ask(fanatico_plan.address, _or_me(node))


def addresses(name: str | None = None) -> dict[str, str]:
    """
    Return the addresses of the nodes with a role or component, ``{id: address}``, in plan order.

    name
        The role or component; default: all nodes.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.addresses etcd
    """
    return _ask(fanatico_plan.addresses, name)


def node_at(ip: str) -> str | None:
    """
    Return the id of the node with an address, or None.

    ip
        The address.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.node_at 10.0.3.10
    """
    return _ask(fanatico_plan.node_at, ip)


def peers(role: str, node: str | None = None) -> list[str]:
    """
    Return the ids of the other nodes with a role.

    role
        For example ``haproxy``.
    node
        The node that is left out; default: this node.

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_plan.peers haproxy
    """
    return _ask(fanatico_plan.peers, role, _or_me(node))


def senders(component: str) -> list[str]:
    """
    Return the ids of the nodes that may connect to a port of a component, in plan order.

    component
        For example ``node_exporter``.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.senders node_exporter
    """
    return _ask(fanatico_plan.senders, component)


def network_of(node: str | None = None) -> list[str]:
    """
    Return the network of a node, ``[name, cidr]``.

    node
        A node id; default: this node.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.network_of
    """
    return list(_ask(fanatico_plan.network_of, _or_me(node)))


def subnets(role: str | None = None) -> list[str]:
    """
    Return the networks (CIDR) of the nodes with a role, in plan order.

    role
        For example ``patroni``; default: all networks.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.subnets patroni
    """
    return _ask(fanatico_plan.subnets, role)


def timing() -> dict[str, dict]:
    """
    Return the timing in force: the plan's preset, with the values that the plan overrides.

    Seconds under ``patroni`` and ``vrrp``, milliseconds under ``etcd`` and ``haproxy``.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.timing
    """
    return fanatico_timing.resolved(_plan().get("timing"))


def etcd_endpoints() -> list[str]:
    """
    Return the client URLs of all etcd members.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.etcd_endpoints
    """
    return _ask(fanatico_plan.etcd_endpoints)


def includes(stage: str) -> list[str]:
    """
    Return the states that a file of ``salt/roles/`` includes on this node.

    stage
        ``every``, ``prepared`` or ``certified``.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.includes prepared
    """
    return fanatico_plan.includes(roles(), stage)


def reserved() -> dict[str, list]:
    """
    Return what only our states may upgrade and restart, ``{"packages": [patterns], "services": [names]}``.

    ``packages`` are patterns of Unattended-Upgrade::Package-Blacklist; a service with ``*`` at its end is a prefix.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.reserved
    """
    return fanatico_plan.reserved()
