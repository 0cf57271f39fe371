"""
Who may do what in etcd, and what is left to do until it is so. No I/O.
"""

import base64

# Users of etcd, and whether each has a password. `health` is who shows its certificate (_utils/fanatico_pki.py): it may read
# the one key that `etcdctl endpoint health` asks for, and that nobody writes.
USERS = {"root": True, "patroni": True, "health": False}


def _grants(scope):
    """Return {role: [type, first key, key after the last or ""]}; root may do everything, by its name alone."""
    start = f"/service/{scope}/"
    return {
        "patroni": ["READWRITE", start, start[:-1] + chr(ord(start[-1]) + 1)],
        "health": ["READ", "health", ""],
    }


def unknown(seen, kept=()):
    """
    Return ``(users, roles)`` that etcd has and that nobody here made: names, sorted.

    seen
        As ``fanatico_etcd.access`` returns it; of ``roles`` only the names are looked at.
    kept
        Users that a person has made on purpose (pillar ``etcd:users``); the roles they hold are kept with them.
    """
    ours = {*USERS, *kept}
    held = {role for user in kept for role in seen["users"].get(user, ())}
    users = sorted(user for user in seen["users"] if user not in ours)
    return users, sorted(role for role in seen["roles"] if role not in {*USERS, *held})


def printable(names):
    """Return names that somebody else has chosen as text for people: printable, and not too long."""
    shown = ["".join(c if c.isprintable() else "?" for c in name[:64]) for name in list(names)[:10]]
    return ", ".join(shown) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


_REMOVE_USER, _REMOVE_ROLE = "/v3/auth/user/delete", "/v3/auth/role/delete"
REMOVALS = (_REMOVE_USER, _REMOVE_ROLE)  # steps by which somebody loses access


def access_steps(seen, scope, admitted, renewing=False, kept=()):
    """
    Return what is left to do until etcd lets in its users alone, as ``[(what, gateway path, payload), ...]``, in order.

    seen
        As ``fanatico_etcd.access`` returns it.
    scope
        The name of Patroni's cluster; its user may touch the keys under ``/service/<scope>/`` and no other.
    admitted
        ``{user: bool}``: who is let in with the password in the pillar; left out where that cannot be asked yet.
    renewing
        Whether the key of etcd's tokens is being replaced, so that Patroni logs in again in any case.
    kept
        As in ``strangers``.

    A payload without its ``password`` is completed by whoever knows it. A cluster whose users are in force gets the user
    ``health``, and loses strangers, only while ``renewing``: with every change here etcd refuses the tokens it gave out before,
    and Patroni 4.0 asks for another one only when its own has ended, after five minutes. Until then no standby could take over.
    """
    users = [
        user
        for user in USERS
        if user != "health" or renewing or not seen["enforced"] or user in seen["users"]
    ]
    strange_users, strange_roles = unknown(seen, kept) if renewing or not seen["enforced"] else ([], [])
    steps: list[tuple[str, str, dict]] = [
        *((f"user {printable([user])} is removed", _REMOVE_USER, {"name": user}) for user in strange_users),
        *((f"role {printable([role])} is removed", _REMOVE_ROLE, {"role": role}) for role in strange_roles),
    ]
    steps += _user_steps(users, seen["users"], admitted)
    for role, grant in _grants(scope).items():
        if role in users:
            steps += _role_steps(role, grant, seen["roles"])
    for user in users:
        if user not in seen["users"].get(user, []):
            steps.append((f"user {user} gets its role", "/v3/auth/user/grant", {"user": user, "role": user}))
    steps += [
        (
            f"user {user} loses the role {printable([role])}",
            "/v3/auth/user/revoke",
            {"name": user, "role": role},
        )
        for user in users
        for role in sorted(seen["users"].get(user, []))
        if role != user and role not in strange_roles
    ]
    if not seen["enforced"]:
        steps.append(("users come into force", "/v3/auth/enable", {}))
    return steps


def _user_steps(users, present, admitted):
    """Return the steps until there are these users, with the passwords in the pillar."""
    steps: list[tuple[str, str, dict]] = []
    for user in users:
        if user not in present:
            options = {} if USERS[user] else {"options": {"no_password": True}}
            steps.append((f"user {user} is made", "/v3/auth/user/add", {"name": user, **options}))
        elif admitted.get(user) is False:
            steps.append(
                (f"user {user} gets the password in the pillar", "/v3/auth/user/changepw", {"name": user})
            )
    return steps


def _role_steps(role, grant, roles):
    """Return the steps until a role may do what ``grant`` says and nothing else."""
    steps = [] if role in roles else [(f"role {role} is made", "/v3/auth/role/add", {"name": role})]
    held = roles.get(role, [])
    for kind, key, end in held:
        if [kind, key, end] != grant:
            revoked = {"role": role, "key": _base64(key), "range_end": _base64(end)}
            steps.append((f"role {role} loses {printable([key])}", "/v3/auth/role/revoke", revoked))
    if grant not in held:
        permission = {"permType": grant[0], "key": _base64(grant[1]), "range_end": _base64(grant[2])}
        given = {"name": role, "perm": permission}
        steps.append((f"role {role} gets {grant[1]}", "/v3/auth/role/grant", given))
    return steps


def _base64(text):
    return base64.b64encode(text.encode()).decode()
