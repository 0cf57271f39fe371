"""
Changes of etcd through its JSON gateway: users, defragmentation, leader transfer.
"""

import base64
import contextlib

from salt.exceptions import CommandExecutionError

import fanatico_etcd_gateway
import fanatico_etcd_plan
import fanatico_plan

__virtualname__ = "fanatico_etcd"


def __virtual__():
    return __virtualname__


def _me():
    return __opts__["id"]


def _gateway():
    return fanatico_etcd_gateway.Gateway(__pillar__, _me(), __salt__["fanatico_pki.paths"]("etcd"))


def gateway_call(path: str, payload: dict | None = None, timeout: float = 5) -> dict:
    """
    Call the JSON gateway of the first member that answers and return its answer.

    The call is authenticated as this node's etcd user.

    path
        For example ``/v3/auth/user/list``.
    payload
        A dict; bytes in it are base64.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.gateway_call /v3/auth/user/list
    """
    return _gateway().call(path, payload, timeout)


def access(timeout: float = 5) -> dict:
    """
    Return etcd's users and roles, and whether authentication is enabled.

    timeout
        Seconds, for each call.

    Returns ``{"enforced": bool, "users": {name: [roles]}, "roles": {name: [[type, key, end], ...]}}``.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.access
    """

    gateway = _gateway()

    def ask(path, payload=None):
        return gateway.call(f"/v3/auth/{path}", payload, timeout)

    def text(value):
        return base64.b64decode(value or "").decode("utf-8", "replace")

    users = {
        name: ask("user/get", {"name": name}).get("roles", []) for name in ask("user/list").get("users", [])
    }
    grants = {
        name: ask("role/get", {"role": name}).get("perm", []) for name in ask("role/list").get("roles", [])
    }
    _, enforced = gateway.first(lambda address: gateway.token(address, timeout) is not None)
    return {
        "enforced": enforced,
        "users": users,
        "roles": {
            name: [
                [grant.get("permType", "READ"), text(grant.get("key")), text(grant.get("range_end"))]
                for grant in found
            ]
            for name, found in grants.items()
            if name != "root"  # has all permissions without a grant
        },
    }


def password_valid(user: str, secret: str, timeout: float = 5) -> bool:
    """
    Return whether etcd accepts a secret of the pillar as the password of ``user``.

    user
        A user of etcd.
    secret
        The name of the secret, for example ``ETCD_PATRONI_PASSWORD``.
    timeout
        Seconds.

    Raises ``CommandExecutionError`` if authentication is not enabled or etcd does not answer.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.password_valid patroni ETCD_PATRONI_PASSWORD
    """
    gateway = _gateway()
    known = (user, [fanatico_plan.get(__pillar__, f"secrets:{secret}")])

    def ask(address):
        try:
            return True, gateway.token(address, timeout, known)
        except fanatico_etcd_gateway.AuthenticationFailed:
            return False, None

    _, (admitted, token) = gateway.first(ask)
    if admitted and token is None:
        raise CommandExecutionError(
            f"{_me()}: etcd authentication is not enabled. Next: salt {_me()} state.apply etcd"
        )
    return admitted


def make_room(timeout: float = 15) -> str:
    """
    Compact etcd's history, defragment every member that answers, one at a time, and disarm the alarm NOSPACE.

    timeout
        Seconds, for each call.

    Returns a sentence with the sizes before and after. Raises ``CommandExecutionError`` if the alarm cannot be disarmed.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.make_room
    """
    gateway = _gateway()
    before = gateway.everywhere(gateway.status, 1)
    # Any key: the header of the answer has the newest revision.
    newest = gateway.call(
        "/v3/kv/range", {"key": "AA==", "range_end": "AA==", "limit": 1, "keys_only": True}, timeout
    )
    revision = newest["header"]["revision"]
    with contextlib.suppress(CommandExecutionError):  # refused if already compacted to this revision
        gateway.call("/v3/kv/compaction", {"revision": revision, "physical": True}, timeout)
    leader = fanatico_etcd_plan.leader_of(before)
    answering = [name for name, answer in before.items() if "error" not in answer]
    for name in sorted(answering, key=lambda name: name == leader):
        address = gateway.nodes[name]
        token = gateway.token(address, timeout)
        gateway.post(address, "/v3/maintenance/defragment", timeout=timeout, token=token)
    gateway.call(
        "/v3/maintenance/alarm", {"action": "DEACTIVATE", "memberID": 0, "alarm": "NOSPACE"}, timeout
    )
    sizes = [
        max((answer["db_size"] for answer in answers.values() if "db_size" in answer), default=0) / 1024**2
        for answers in (before, gateway.everywhere(gateway.status, 1))
    ]
    return f"compacted at revision {revision}, {len(answering)} members defragmented: {sizes[0]:.1f} MiB, now {sizes[1]:.1f}"


def enforce_leader_separation(timeout: float = 5) -> dict:
    """
    Move etcd's leadership if this node has it and Patroni's leader is on the same host or in the same failure domain.

    The minions of such nodes run this by themselves (``_pillar/fanatico_apart.py``), with or without a master.

    timeout
        Seconds, for each call.

    Returns ``{"moved": the new leader or None, "why": text}``. Raises ``CommandExecutionError`` if etcd does not answer or
    refuses.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.enforce_leader_separation
    """
    plan, gateway = __pillar__["plan"], _gateway()
    statuses = gateway.everywhere(gateway.status, timeout)
    leader = fanatico_etcd_plan.leader_of(statuses)
    if leader != _me():
        return {"moved": None, "why": f"the etcd leader is {leader or 'not known'}, not {_me()}"}
    key = f"/service/{plan['name']}/leader"
    held = gateway.call("/v3/kv/range", {"key": base64.b64encode(key.encode()).decode()}, timeout).get("kvs")
    primary = base64.b64decode(held[0]["value"]).decode() if held else None
    successor, why = fanatico_etcd_plan.enforce_leader_separation(plan, leader, primary, statuses)
    if successor:
        member = str(int(statuses[successor]["member_id"], 16))
        address = gateway.nodes[leader]  # only the leader accepts this call
        token = gateway.token(address, timeout)
        gateway.post(
            address, "/v3/maintenance/transfer-leadership", {"targetID": member}, timeout, token=token
        )
    return {"moved": successor, "why": why}
