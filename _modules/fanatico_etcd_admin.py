"""
What is ordered of etcd through its JSON gateway: users, space, who leads.
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


def gateway_call(path, payload=None, timeout=5):
    """
    Call the JSON gateway of the first member that answers, as the user this node is, and return the answer.

    path
        For example ``/v3/auth/user/list``.
    payload
        A dict; bytes in it base64, as the gateway wants them.
    timeout
        Seconds, for each call.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.gateway_call /v3/auth/user/list
    """
    return _gateway().call(path, payload, timeout)


def access(timeout=5):
    """
    Return who may do what: ``{"enforced": bool, "users": {name: [roles]}, "roles": {name: [[type, key, end], ...]}}``.

    timeout
        Seconds, for each call.

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
                [one.get("permType", "READ"), text(one.get("key")), text(one.get("range_end"))]
                for one in found
            ]
            for name, found in grants.items()
            if name != "root"  # may do everything, by its name alone
        },
    }


def password_valid(user, secret, timeout=5):
    """
    Tell whether etcd lets ``user`` in with the password that is the secret of this name in the pillar.

    user
        A user of etcd.
    secret
        For example ``ETCD_PATRONI_PASSWORD``.
    timeout
        Seconds.

    Raises ``CommandExecutionError`` where users are not in force yet, or etcd does not answer.

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
        raise CommandExecutionError(f"{_me()}: etcd asks nobody for a password yet")
    return admitted


def make_room(timeout=15):
    """
    Give up etcd's history, give back the space of every member that answers, one after the other, and end the alarm NOSPACE.

    timeout
        Seconds, for each call.

    Returns a sentence with the sizes before and after. Raises ``CommandExecutionError`` where the alarm cannot be ended.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.make_room
    """
    gateway = _gateway()
    before = gateway.everywhere(gateway.status, 1)
    # Any key at all: the answer says which revision is the newest.
    newest = gateway.call(
        "/v3/kv/range", {"key": "AA==", "range_end": "AA==", "limit": 1, "keys_only": True}, timeout
    )
    revision = newest["header"]["revision"]
    with contextlib.suppress(CommandExecutionError):  # refused where it was compacted so far already
        gateway.call("/v3/kv/compaction", {"revision": revision, "physical": True}, timeout)
    leader = fanatico_etcd_plan.leader_of(before)
    answering = [name for name, one in before.items() if "error" not in one]
    for name in sorted(answering, key=lambda name: name == leader):
        address = gateway.nodes[name]
        token = gateway.token(address, timeout)
        gateway.post(address, "/v3/maintenance/defragment", timeout=timeout, token=token)
    gateway.call(
        "/v3/maintenance/alarm", {"action": "DEACTIVATE", "memberID": 0, "alarm": "NOSPACE"}, timeout
    )
    sizes = [
        max((one["db_size"] for one in seen.values() if "db_size" in one), default=0) / 1024**2
        for seen in (before, gateway.everywhere(gateway.status, 1))
    ]
    return f"compacted at revision {revision}, {len(answering)} members defragmented: {sizes[0]:.1f} MiB, now {sizes[1]:.1f}"


def enforce_leader_separation(timeout=5):
    """
    Hand etcd's lead over where this node leads it and Patroni's leader shares its host or failure domain.

    Run by the minions of such nodes themselves (``_pillar/fanatico_apart.py``), with or without a master.

    timeout
        Seconds, for each call.

    Returns ``{"moved": node or None, "why": text}``. Raises ``CommandExecutionError`` where etcd does not answer or refuses.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_etcd.enforce_leader_separation
    """
    plan, gateway = __pillar__["plan"], _gateway()
    statuses = gateway.everywhere(gateway.status, timeout)
    leader = fanatico_etcd_plan.leader_of(statuses)
    if leader != _me():
        return {"moved": None, "why": f"{leader or 'nobody'} leads etcd, not {_me()}"}
    key = f"/service/{plan['name']}/leader"
    held = gateway.call("/v3/kv/range", {"key": base64.b64encode(key.encode()).decode()}, timeout).get("kvs")
    primary = base64.b64decode(held[0]["value"]).decode() if held else None
    successor, why = fanatico_etcd_plan.enforce_leader_separation(plan, leader, primary, statuses)
    if successor:
        member = str(int(statuses[successor]["member_id"], 16))
        address = gateway.nodes[leader]  # only the leader takes this order
        token = gateway.token(address, timeout)
        gateway.post(
            address, "/v3/maintenance/transfer-leadership", {"targetID": member}, timeout, token=token
        )
    return {"moved": successor, "why": why}
