"""
The plan, as this minion's pillar holds it.

The same questions as ``_utils/fanatico_plan.py``, with the plan and this node's id filled in, for Jinja
(``salt['fanatico_plan.nodes']('etcd')``) and for people.
"""

import fanatico_plan
import fanatico_timing


def _plan():
    plan = __pillar__.get("plan")
    if not plan:
        raise ValueError(f"{__opts__['id']} has no plan in its pillar: see `salt-run fanatico.validate`")
    return plan


def _ask(question, *args):
    return question(_plan(), *args)


def _or_me(node):
    return node or __opts__["id"]


def nodes(name: str | None = None) -> list[str]:
    """
    Return the ids of the nodes that have the role or component ``name`` (all nodes without one), in plan order.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.nodes etcd
    """
    return _ask(fanatico_plan.nodes, name)


def roles(node: str | None = None) -> list[str]:
    """
    Return the roles of ``node`` (this one without one); an empty list for a node that is not in the plan.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_plan.roles
    """
    return _ask(fanatico_plan.roles, _or_me(node))


def has_role(role: str, node: str | None = None) -> bool:
    """
    Tell whether ``node`` (this one without one) holds ``role``.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_plan.has_role patroni
    """
    return _ask(fanatico_plan.has_role, _or_me(node), role)


def port(name: str) -> int:
    """
    Return the port of the plan named ``name``, or the usual one where the plan names none.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_plan.port rpc_agent
    """
    return _ask(fanatico_plan.port, name)


def address(node: str | None = None) -> str:
    """
    Return the address of ``node`` (this one without one); raises for a node that is not in the plan.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.address etcd1
    """
    return _ask(fanatico_plan.address, _or_me(node))


def addresses(name: str | None = None) -> dict[str, str]:
    """
    Return ``{id: address}`` of the nodes that have the role or component ``name`` (all nodes without one), in plan order.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.addresses etcd
    """
    return _ask(fanatico_plan.addresses, name)


def node_at(ip: str) -> str | None:
    """
    Return the id of the node with address ``ip``, or None.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.node_at 10.0.3.10
    """
    return _ask(fanatico_plan.node_at, ip)


def peers(role: str, node: str | None = None) -> list[str]:
    """
    Return the ids of the nodes that hold ``role``, without ``node`` (this one without one).

    CLI Example:

    .. code-block:: bash

        salt haproxy1 fanatico_plan.peers haproxy
    """
    return _ask(fanatico_plan.peers, role, _or_me(node))


def senders(component: str) -> list[str]:
    """
    Return the ids of the nodes that may connect to a port of ``component``, in plan order.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.senders node_exporter
    """
    return _ask(fanatico_plan.senders, component)


def network_of(node: str | None = None) -> list[str]:
    """
    Return ``[name, cidr]`` of the network ``node`` (this one without one) stands in.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.network_of
    """
    return list(_ask(fanatico_plan.network_of, _or_me(node)))


def subnets(role: str | None = None) -> list[str]:
    """
    Return the networks (cidr) in which nodes with ``role`` stand (all networks without one), in plan order.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.subnets patroni
    """
    return _ask(fanatico_plan.subnets, role)


def timing() -> dict[str, dict]:
    """
    Return the timing in force: that of the plan's preset, with what the plan sets itself on top.

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
    Return the states that this node has in one of ``salt/roles/``.

    stage
        ``every``, ``prepared`` or ``certified``.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.includes prepared
    """
    return fanatico_plan.includes(roles(), stage)


def reserved() -> dict[str, list]:
    """
    Return what only the states of any component upgrade and restart, ``{"packages": [patterns], "services": [names]}``.

    ``packages`` are as Unattended-Upgrade::Package-Blacklist takes them; a service with ``*`` is what a name begins with.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_plan.reserved
    """
    return fanatico_plan.reserved()
