"""
etcd's members, keys and locks, through python-etcd3.

python-etcd3 is imported when a function needs it, and a client lives for one call: gRPC does not survive the fork of a Salt
job, and status and health (`fanatico_etcd.py`) must not depend on it. python-etcd3 does not know learners, so their two calls
use the JSON gateway.

A node without python-etcd3 has these functions too, and they raise an error that names the missing package. A ``__virtual__``
could not report it: Salt drops the reason because another file provides ``fanatico_etcd`` as well.
"""

import contextlib
import json
import os
from collections.abc import Sequence

from salt.exceptions import CommandExecutionError

import fanatico_etcd_gateway
import fanatico_etcd_plan
import fanatico_etcd_users
import fanatico_plan
import fanatico_wait

__virtualname__ = "fanatico_etcd"


def __virtual__():
    return __virtualname__


def _me():
    return __opts__["id"]


def _gateway():
    return fanatico_etcd_gateway.Gateway(__pillar__, _me(), __salt__["fanatico_pki.paths"]("etcd"))


def _etcd3():
    # python-etcd3's generated code needs protobuf's Python implementation; with another it raises TypeError.
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    try:
        import etcd3
    except Exception as exc:  # what protobuf raises depends on its version
        raise CommandExecutionError(
            f"{_me()}: python-etcd3 cannot be imported: {type(exc).__name__}: {exc}. Next: salt-call state.apply minion"
        ) from exc
    if not hasattr(etcd3, "Etcd3Client"):
        raise CommandExecutionError(f"{_me()}: the installed module etcd3 is etcd3-py, not python-etcd3")
    return etcd3


@contextlib.contextmanager
def _client(timeout=5):
    """Yield a client of the first member that answers. It is tested before use, so that no request is sent twice."""
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
    """Return a tested client of the member at this address; raise ``CommandExecutionError`` if it does not answer."""
    token = gateway.token(address, timeout)
    client = etcd3.client(
        host=address,
        port=gateway.port(),
        timeout=timeout,
        ca_cert=gateway.tls["ca"],
        cert_cert=gateway.tls["cert"],
        cert_key=gateway.tls["key"],
    )
    # python-etcd3's own login fails while authentication is not enabled.
    client.metadata = (("token", token),) if token else None
    try:
        client.status()
    except etcd3.Etcd3Exception as exc:
        client.close()
        raise CommandExecutionError(type(exc).__name__) from exc
    return client


def members(timeout: float = 5) -> dict[str, dict]:
    """
    Return the member list, ``{id: {"id", "peer_urls", "client_urls", "started"}}``.

    A member that has been added and not started yet is listed under the id of its node in the plan.

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
            "id": f"{member.id:x}",
            "name": member.name,
            "peer_urls": list(member.peer_urls),
            "client_urls": list(member.client_urls),
        }
        for member in client.members
    ]
    return fanatico_etcd_plan.by_name(listed, _gateway().peer_urls())


def member_add(name: str, learner: bool = False, timeout: float = 5) -> dict[str, dict]:
    """
    Add a node of the plan to the cluster, unless it is a member already, and return the member list.

    name
        The id of an etcd node of the plan.
    learner
        Add it without a vote until ``member_promote``.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.member_add etcd2
    """
    url = _gateway().peer_url(name)
    with _client(timeout) as client:
        if not any(url in member["peer_urls"] for member in _members(client).values()):
            if learner:
                _gateway().call("/v3/cluster/member/add", {"peerURLs": [url], "isLearner": True}, timeout)
            else:
                client.add_member([url])
        return _members(client)


def member_remove(name: str, timeout: float = 5) -> dict[str, dict]:
    """
    Remove a node from the cluster, if it is a member, and return the member list.

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


def member_promote(name: str, timeout: float = 5) -> dict[str, dict]:
    """
    Promote a learner to a voting member and return the member list. etcd refuses until the learner has caught up.

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
                f"{name} is not a member of the etcd cluster. Next: salt {_me()} fanatico_etcd.member_add {name}"
            )
        _gateway().call("/v3/cluster/member/promote", {"ID": str(int(member["id"], 16))}, timeout)
        return _members(client)


def get(key: str, timeout: float = 5) -> str | None:
    """
    Return the value of a key as text, or None if the key does not exist.

    key
        The full key.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.get /service/fanatico/leader
    """
    with _client(timeout) as client:
        value, _ = client.get(key)
    return None if value is None else value.decode("utf-8", "replace")


def keys(prefix: str = "/", timeout: float = 5) -> list[str]:
    """
    Return the keys with a prefix, sorted.

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


def evict(host: str, timeout: float = 5) -> dict[str, list]:
    """
    Remove a host that is no longer in the plan from etcd and from Patroni's keys. A step of ``orch.evict``, on one etcd node.

    It removes: etcd members whose address is not in the plan, one at a time (etcd refuses if the quorum would be lost);
    Patroni's keys of members that are not in the plan, among them the leader key and a scheduled switchover that name such a
    member; locks that such a member holds, and locks without a lease.

    host
        Its former minion id.
    timeout
        Seconds, for each call.

    Returns ``{"members": [names], "keys": [keys]}``: what was removed. Raises ``CommandExecutionError`` if the host is still in
    the plan, and if etcd refuses.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.evict db2
    """
    plan = __pillar__["plan"]
    if host in plan["nodes"]:
        raise CommandExecutionError(f"{host} is still in plan:nodes. Next: move its line to plan:evicted")
    urls = _gateway().peer_urls()
    databases = fanatico_plan.nodes(plan, "patroni")
    prefix = f"/service/{plan['name']}/"
    with _client(timeout) as client:
        members = [
            {"id": member.id, "name": member.name or f"{member.id:x}", "peer_urls": list(member.peer_urls)}
            for member in client.members
        ]
        try:
            leaving = fanatico_etcd_plan.unplanned_members(urls, members)
        except ValueError as exc:
            raise CommandExecutionError(f"{_me()}: nothing was removed: {exc}") from exc
        for member in leaving:
            client.remove_member(member["id"])
        held = [
            (meta.key.decode("utf-8", "replace"), value.decode("utf-8", "replace"), meta.lease_id)
            for start in (prefix, "/fanatico/lock/")
            for value, meta in client.get_prefix(start)
        ]
        # Members before the leader key: a candidate queries every member for its WAL position, and would wait for a dead one.
        stale = fanatico_etcd_plan.stale_keys(prefix, databases, list(plan["nodes"]), held)
        for key in stale:
            client.delete(key)
    printable = fanatico_etcd_users.printable
    return {
        "members": [printable([member["name"]]) for member in leaving],
        "keys": [printable([key]) for key in stale],
    }


def lock(name: str, ttl: int = 60, timeout: float = 5) -> dict:
    """
    Acquire a cluster-wide lock, so that only one node at a time does what endangers the quorum.

    name
        The purpose, for example ``restart-etcd``.
    ttl
        Seconds after which the lock expires, also if this node is lost.
    timeout
        Seconds, for each call.

    Returns ``{"lease": id, "holder": this node}``; ``lease`` is None if another node, ``holder``, has the lock.

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


def unlock(lease: int, timeout: float = 5) -> bool:
    """
    Release a lock.

    lease
        The ``lease`` that ``lock`` returned.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.unlock 7587886218451432452
    """
    with _client(timeout) as client:
        client.revoke_lease(int(lease))
    return True


def forget_cluster(stopped: Sequence[str] = (), timeout: float = 30) -> list[str]:
    """
    Delete everything that Patroni has in etcd except its settings, and end its pause. A step of ``orch.restore``.

    The next Patroni that starts with data founds the cluster again with that data.

    stopped
        The hosts where Patroni was stopped and is held. The keys of other members must have expired.
    timeout
        Seconds to wait for that.

    Returns the deleted keys. Raises ``CommandExecutionError``, with nothing changed, while a Patroni runs.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_etcd.forget_cluster '[db1, db2, db3]'
    """
    prefix = f"/service/{__pillar__['plan']['name']}/"

    def alive():
        members = [key.removeprefix(f"{prefix}members/") for key in keys(f"{prefix}members/")]
        running = [member for member in members if member not in stopped]
        return not running, ", ".join(running)

    done, seen = fanatico_wait.until(alive, timeout)
    if not done:
        raise CommandExecutionError(
            f"{_me()}: Patroni runs on {seen}; nothing was changed. Next: on each: systemctl stop patroni"
        )
    deleted = [key for key in keys(prefix) if key != f"{prefix}config"]
    with _client() as client:
        settings, _ = client.get(f"{prefix}config")
        settings = json.loads(settings) if settings else {}
        changed = {name: value for name, value in settings.items() if name != "pause"}
        of = client.transactions
        success = [of.delete(key) for key in deleted]
        if changed != settings:
            success.append(of.put(f"{prefix}config", json.dumps(changed)))
        others = [node for node in fanatico_plan.nodes(__pillar__["plan"], "patroni") if node not in stopped]
        absent = [of.create(f"{prefix}members/{node}") == 0 for node in others]
        done, _ = client.transaction(compare=absent, success=success, failure=[])
    if not done:
        raise CommandExecutionError(
            f"{_me()}: Patroni started on one of {', '.join(others)}; nothing was changed. Next: on each: systemctl stop patroni"
        )
    return deleted
