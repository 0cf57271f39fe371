"""
Who may do what in etcd: its own users, and nobody else in passing.
"""

from salt.exceptions import CommandExecutionError

import fanatico_etcd_users
import fanatico_plan
import fanatico_state
import fanatico_wait

__virtualname__ = "fanatico_etcd"


def __virtual__():
    return __virtualname__


def _get(path, default=None):
    return fanatico_plan.get(__pillar__, path, default)


def _me():
    return __opts__["id"]


def users_present(name, keep=(), timeout=30):
    """
    Have etcd let in its users alone: ``root``, which these nodes are, ``patroni``, for the keys of its cluster only, and
    ``health``, for the question of ``etcdctl endpoint health``. A cluster made before there was ``health`` gets it by
    ``orch.rotate_secrets``. Every other user and role is named in the comment; that one removes it, or a first deploy.

    Done by one node, the first of the plan that answers: with every change etcd takes no token from before any more, and
    Patroni 4.0 does not understand why it is refused until its token has ended. Patroni's password is set after root's.

    name
        The name of Patroni's cluster.
    keep
        Users that a person has made on purpose; they stay, and so do the roles they hold.
    timeout
        Seconds.
    """
    done, strange = [], []
    try:
        keeper = _keeper(timeout)
    except CommandExecutionError as exc:
        return fanatico_state.answer(name, False, str(exc))
    if keeper != _me():
        return fanatico_state.answer(name, True, f"{keeper} keeps the users")

    def look():
        steps, strange[:] = _access_steps(name, keep)
        if steps and __opts__["test"]:
            return True, [(what, path) for what, path, _ in steps]
        for what, path, payload in steps:
            __salt__["fanatico_etcd.gateway_call"](path, _with_password(path, payload))
            done.append((what, path))
        return not steps, []

    settled, seen = fanatico_wait.until(look, timeout, interval=0.3)
    if not settled:
        return fanatico_state.answer(
            name,
            False,
            f"{_me()}: etcd's users could not be settled within {timeout} s: {seen}",
            _said(_texts(done)),
        )
    left = f"{'; '.join(strange)} with the next orch.rotate_secrets: {_WHY_LATER}" if strange else ""
    comment = (
        "; ".join(one for one in (_removed(seen or done), left) if one) or "etcd lets in its users alone"
    )
    if seen or (strange and __opts__["test"]):
        return fanatico_state.answer(name, None, comment, _said([*_texts(seen), *strange]))
    return fanatico_state.answer(name, True, comment, _said(_texts(done)))


_WHY_LATER = (
    "not in passing, since Patroni could not take over for five minutes then. Next: find out who made them, then "
    """salt-run state.orchestrate orch.rotate_secrets pillar='{"rotate": ["ETCD_ROOT_PASSWORD"]}'"""
)


def _texts(steps):
    return [what for what, _ in steps]


def _removed(steps):
    """Return the sentence about users and roles that went, or are to go, of ``[(what, path), ...]``; empty without any."""
    gone = [what for what, path in steps if path in fanatico_etcd_users.REMOVALS]
    return f"{'; '.join(gone)}: neither ours nor named in etcd:users of the pillar" if gone else ""


def _keeper(timeout):
    """Return the first node of the plan whose member answers."""

    def look():
        members = __salt__["fanatico_etcd.status"]()
        nodes = fanatico_plan.nodes(__pillar__["plan"], "etcd")
        keeper = next((node for node in nodes if "error" not in members.get(node, {"error": ""})), None)
        return keeper is not None, keeper

    done, seen = fanatico_wait.until(look, 0 if __opts__["test"] else timeout)
    if not done:
        raise CommandExecutionError(
            f"{_me()}: no etcd member answers ({seen}), so its users cannot be settled. Next: salt {_me()} fanatico_etcd.status"
        )
    return seen


_SETS_PASSWORD = ("/v3/auth/user/add", "/v3/auth/user/changepw")
_SECRET_OF = {"root": "ETCD_ROOT_PASSWORD", "patroni": "ETCD_PATRONI_PASSWORD"}


def _said(steps):
    return {"users": {"old": "", "new": "; ".join(dict.fromkeys(steps))}} if steps else {}


def _access_steps(name, keep):
    """Return ``(steps, what is left for a rotation)``."""
    seen = __salt__["fanatico_etcd.access"]()
    password_valid = __salt__["fanatico_etcd.password_valid"]
    known = [user for user in _SECRET_OF if user in seen["users"]] if seen["enforced"] else []
    admitted = {user: password_valid(user, _SECRET_OF[user]) for user in known}
    renewing = bool(_get("secrets_former:ETCD_TOKEN_KEY"))
    steps = fanatico_etcd_users.access_steps(seen, name, admitted, renewing, keep)
    kinds = ("user", "role") if seen["enforced"] and not renewing else ()
    strange = fanatico_etcd_users.unknown(seen, keep)
    return steps, [
        f"{kind} {fanatico_etcd_users.printable([one])} is removed"
        for kind, found in zip(kinds, strange, strict=False)
        for one in found
    ]


def _with_password(path, payload):
    if path not in _SETS_PASSWORD or "options" in payload:
        return payload
    return payload | {"password": _get(f"secrets:{_SECRET_OF[payload['name']]}")}
