"""
etcd's members, keys and locks, through python-etcd3.

It is imported only where it is used, and its client lives for one call: gRPC does not survive the fork of a Salt job, and
status and health (`fanatico_etcd.py`) must not depend on it. Learners are younger than python-etcd3, so their two calls go
through the gateway.

A node without python-etcd3 has these functions all the same and says what is missing when one is called: from a
``__virtual__`` Salt would not pass on the reason, since another file has the name ``fanatico_etcd`` too.
"""

import contextlib
import os

from salt.exceptions import CommandExecutionError

import fanatico_etcd_gateway
import fanatico_etcd_plan
import fanatico_etcd_users
import fanatico_plan

__virtualname__ = "fanatico_etcd"


def __virtual__():
    return __virtualname__


def _me():
    return __opts__["id"]


def _gateway():
    return fanatico_etcd_gateway.Gateway(__pillar__, _me(), __salt__["fanatico_pki.paths"]("etcd"))


def _etcd3():
    # python-etcd3's generated code needs protobuf's Python implementation, and says so with a TypeError.
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    try:
        import etcd3
    except Exception as exc:  # what protobuf raises depends on its version
        raise CommandExecutionError(
            f"{_me()}: python-etcd3 cannot be used: {type(exc).__name__}: {exc}"
        ) from exc
    if not hasattr(etcd3, "Etcd3Client"):
        raise CommandExecutionError(f"{_me()}: the module etcd3 here is etcd3-py, not python-etcd3")
    return etcd3


@contextlib.contextmanager
def _client(timeout=5):
    """Yield a client of the first member that answers, tried out first so that nothing is sent twice."""
    etcd3, gateway = _etcd3(), _gateway()
    name, client = gateway.first(lambda address: _connected(etcd3, gateway, address, timeout))
    try:
        yield client
    except etcd3.Etcd3Exception as exc:
        raise CommandExecutionError(
            f"{_me()}: etcd member {name}: {type(exc).__name__} {exc}".rstrip()
        ) from exc
    finally:
        client.close()


def _connected(etcd3, gateway, address, timeout):
    """Return a client of the member at this address, which has answered; raises ``CommandExecutionError``."""
    token = gateway.token(address, timeout)
    client = etcd3.client(
        host=address,
        port=gateway.port(),
        timeout=timeout,
        ca_cert=gateway.tls["ca"],
        cert_cert=gateway.tls["cert"],
        cert_key=gateway.tls["key"],
    )
    # python-etcd3 would log in itself, and cannot where users are not in force yet.
    client.metadata = (("token", token),) if token else None
    try:
        client.status()
    except etcd3.Etcd3Exception as exc:
        client.close()
        raise CommandExecutionError(type(exc).__name__) from exc
    return client


def members(timeout=5):
    """
    Return the member list, ``{id: {"id", "peer_urls", "client_urls", "started"}}``.

    A member that was added and has not started yet goes by its node in the plan.

    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.members
    """
    with _client(timeout) as client:
        return _members(client)


def _members(client):
    listed = [
        {
            "id": f"{one.id:x}",
            "name": one.name,
            "peer_urls": list(one.peer_urls),
            "client_urls": list(one.client_urls),
        }
        for one in client.members
    ]
    return fanatico_etcd_plan.by_name(listed, _gateway().peer_urls())


def member_add(name, learner=False, timeout=5):
    """
    Add a node of the plan to the cluster; return the member list, unchanged where it is in already.

    name
        The id of an etcd node of the plan.
    learner
        Without a vote until ``member_promote``.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.member_add etcd2
    """
    url = _gateway().peer_url(name)
    with _client(timeout) as client:
        if not any(url in one["peer_urls"] for one in _members(client).values()):
            if learner:
                _gateway().call("/v3/cluster/member/add", {"peerURLs": [url], "isLearner": True}, timeout)
            else:
                client.add_member([url])
        return _members(client)


def member_remove(name, timeout=5):
    """
    Remove a node from the cluster; return the member list, unchanged where it is not in it.

    name
        The id of the member, or its peer URL.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.member_remove etcd2
    """
    with _client(timeout) as client:
        member = _members(client).get(name)
        if member:
            client.remove_member(int(member["id"], 16))
        return _members(client)


def member_promote(name, timeout=5):
    """
    Give a learner its vote; etcd refuses while it has not caught up.

    name
        The id of the member.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.member_promote etcd2
    """
    with _client(timeout) as client:
        member = _members(client).get(name)
        if member is None:
            raise CommandExecutionError(
                f"{name} is not a member of the etcd cluster: fanatico_etcd.member_add"
            )
        _gateway().call("/v3/cluster/member/promote", {"ID": str(int(member["id"], 16))}, timeout)
        return _members(client)


def get(key, timeout=5):
    """
    Return the value of a key as text, or None where there is none.

    key
        The whole key.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.get /service/fanatico/leader
    """
    with _client(timeout) as client:
        value, _ = client.get(key)
    return None if value is None else value.decode("utf-8", "replace")


def keys(prefix="/", timeout=5):
    """
    Return the keys that begin with ``prefix``, sorted.

    prefix
        For example ``/service/``.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.keys /service/
    """
    with _client(timeout) as client:
        return sorted(
            meta.key.decode("utf-8", "replace") for _, meta in client.get_prefix(prefix, keys_only=True)
        )


def evict(host, timeout=5):
    """
    Make etcd and Patroni forget a host that the plan does not have any more. A step of ``orch.evict``, on one etcd node.

    Removed are: members of etcd that stand at no address of the plan, one at a time, which etcd itself refuses where its quorum
    would be lost; Patroni's keys of members that the plan does not have, the lead where one of them holds it, an order to
    hand the lead over that names one; locks of one of them, or that nothing would ever end.

    host
        What was its minion id.
    timeout
        Seconds, for each call.

    Returns ``{"members": [names], "keys": [keys]}``: what was removed. Raises ``CommandExecutionError`` where the plan still
    has the host, and where etcd refuses.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.evict db2
    """
    plan = __pillar__["plan"]
    if host in plan["nodes"]:
        raise CommandExecutionError(f"{host} is a node of the plan: move its line to plan:evicted first")
    urls = _gateway().peer_urls()
    ours = fanatico_plan.nodes(plan, "patroni")
    prefix = f"/service/{plan['name']}/"
    with _client(timeout) as client:
        members = [
            {"id": one.id, "name": one.name or f"{one.id:x}", "peer_urls": list(one.peer_urls)}
            for one in client.members
        ]
        try:
            leaving = fanatico_etcd_plan.unplanned_members(urls, members)
        except ValueError as exc:
            raise CommandExecutionError(f"{_me()}: {exc}: nothing was removed") from exc
        for one in leaving:
            client.remove_member(one["id"])
        held = [
            (meta.key.decode("utf-8", "replace"), value.decode("utf-8", "replace"), meta.lease_id)
            for start in (prefix, "/fanatico/lock/")
            for value, meta in client.get_prefix(start)
        ]
        # Members before the lead: who wants to lead next asks each member how far it is, and waits for one that is cut off.
        gone = fanatico_etcd_plan.stale_keys(prefix, ours, list(plan["nodes"]), held)
        for key in gone:
            client.delete(key)
    named = fanatico_etcd_users.printable
    return {"members": [named([one["name"]]) for one in leaving], "keys": [named([key]) for key in gone]}


def lock(name, ttl=60, timeout=5):
    """
    Take a lock that every node sees, so that one node at a time does what endangers a quorum.

    name
        What is done, for example ``restart-etcd``.
    ttl
        Seconds after which the lock is free again, whatever became of this node.
    timeout
        Seconds, for each call.

    Returns ``{"lease": id, "holder": this node}``; ``lease`` is None where another node, ``holder``, has it.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.lock restart-etcd
    """
    key = f"/fanatico/lock/{name}"
    with _client(timeout) as client:
        lease = client.lease(ttl)
        of = client.transactions
        taken, answers = client.transaction(
            compare=[of.create(key) == 0], success=[of.put(key, _me(), lease)], failure=[of.get(key)]
        )
        if taken:
            return {"lease": lease.id, "holder": _me()}
        lease.revoke()
        holders = [value.decode("utf-8", "replace") for value, _ in answers[0]]
        return {"lease": None, "holder": holders[0] if holders else "unknown"}


def unlock(lease, timeout=5):
    """
    Give back a lock.

    lease
        What ``lock`` returned.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.unlock 7587886218451432452
    """
    with _client(timeout) as client:
        client.revoke_lease(int(lease))
    return True
