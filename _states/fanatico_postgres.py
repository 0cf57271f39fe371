"""
Roles and databases of PostgreSQL. They are changed on the primary only and replicated from there.

Passwords are compared with the verifiers that PostgreSQL stores, and are sent as verifiers. Neither PostgreSQL's log nor the
result of a state contains a password.
"""

import subprocess

from salt.exceptions import CommandExecutionError

import fanatico_plan
import fanatico_scram
import fanatico_state
import fanatico_wait

_ATTRIBUTES = ("superuser", "createrole", "createdb", "replication")

_ROLE = """
    SELECT rolcanlogin AS login, rolsuper AS superuser, rolcreaterole AS createrole, rolcreatedb AS createdb,
           rolreplication AS replication, rolpassword AS verifier, rolconnlimit AS connections,
           (SELECT setconfig FROM pg_db_role_setting WHERE setrole = a.oid AND setdatabase = 0) AS settings,
           ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                 WHERE m.member = a.oid) AS member_of
    FROM pg_authid a WHERE rolname = %s
"""


def _query(sql, args=None, **options):
    # Do not wait for a replica: a first deploy has none yet, and the next highstate repeats a lost change.
    return __salt__["fanatico_postgres.query"](sql, args, replicated=False, **options)


def _elsewhere(timeout):
    """
    Return the leader if it is another node, or None if it is this node and accepts writes.

    Raises ``CommandExecutionError`` if there is no leader within ``timeout`` seconds.
    """
    me = __opts__["id"]

    def find():
        leader = __salt__["fanatico_patroni.leader"]()
        if leader is None:
            return False, "no leader"
        if leader == me and __salt__["fanatico_postgres.is_in_recovery"]():
            return False, f"{me} is the leader and is being promoted"
        return True, leader

    done, seen = fanatico_wait.until(find, 0 if __opts__["test"] else timeout)
    if not done:
        raise CommandExecutionError(
            f"{me}: roles and databases are changed on the primary, and the cluster has none: {seen}. "
            f"Next: salt {me} fanatico_patroni.cluster"
        )
    return None if seen == me else seen


def startable(name, parameters, bin_dir, data_dir):
    """
    Check that PostgreSQL on this host can start with its parameters, before they reach the cluster. Changes nothing.

    With a missing library, a refused value or too much memory in etcd, no member starts after its next restart.

    name
        Any text; it is only shown.
    parameters
        ``{name: value}``, as in ``postgresql:parameters``.
    bin_dir, data_dir
        The directories of PostgreSQL's programs and data.
    """
    try:
        why = __salt__["fanatico_postgres.start_error"](parameters, bin_dir, data_dir)
    except (OSError, KeyError, subprocess.SubprocessError) as exc:
        why = f"the check failed ({exc})"  # the result is unknown: the cluster keeps its parameters
    if not why:
        return fanatico_state.answer(name, True, "PostgreSQL starts with these parameters")
    comment = (
        f"{__opts__['id']}: PostgreSQL would not start with the pillar's parameters: {why}. Nothing was changed. "
        "Next: correct postgresql:parameters in the pillar, or install the missing library on this host"
    )
    return fanatico_state.answer(name, False, comment)


def role_present(
    name,
    secret,
    attributes=None,
    member_of=None,
    functions=None,
    connections=None,
    settings=None,
    replace_password=False,
    timeout=30,
):
    """
    Ensure a role that can log in, with exactly these attributes and the password from the pillar.

    name
        The role.
    secret
        The name of its password under ``secrets`` in the pillar.
    attributes
        ``{attribute: bool}`` of ``superuser``, ``createrole``, ``createdb`` and ``replication``; others are removed.
    member_of
        Roles that it is a member of. Other memberships stay.
    functions
        Functions of PostgreSQL that it may execute, with their argument types.
    connections
        The limit of concurrent connections. None leaves the limit unchanged.
    settings
        ``{parameter: value}`` for its sessions. A parameter that is None or not listed stays unchanged.
    replace_password
        True allows an existing password to be replaced. With False, a different password is a failure.
    timeout
        Seconds to wait for a primary.
    """
    password = fanatico_plan.get(__pillar__, f"secrets:{secret}")
    if not password:
        comment = f"{__opts__['id']} has no {secret} in its pillar. Next: salt-run fanatico.secrets_init"
        return fanatico_state.answer(name, False, comment)
    wanted = {"login": True, **{key: bool((attributes or {}).get(key)) for key in _ATTRIBUTES}}
    if connections is not None:
        wanted["connections"] = connections
    wanted = {
        "attributes": wanted,
        "password": password,
        "member_of": member_of or [],
        "functions": functions or [],
        "settings": {key: str(value) for key, value in (settings or {}).items() if value is not None},
    }
    return _on_primary(name, "role", timeout, lambda: _ensure_role(name, wanted, replace_password))


def _on_primary(name, kind, timeout, ensure):
    """Return the result of ``ensure`` on the primary. On another node there is nothing to do. An error fails the state."""
    try:
        elsewhere = _elsewhere(timeout)
        if elsewhere:
            return fanatico_state.answer(name, True, f"the primary {elsewhere} manages the {kind} {name}")
        return ensure()
    except CommandExecutionError as exc:
        return fanatico_state.answer(name, False, str(exc))


def _ensure_role(name, wanted, replace_password):
    role = _role(name, wanted)
    verifier = role["verifier"]
    if verifier and not replace_password and not fanatico_scram.matches(wanted["password"], verifier):
        return fanatico_state.answer(name, False, _other_password(name))
    changes = _differences(role, wanted)
    if not changes:
        return fanatico_state.answer(name, True, f"the role {name} matches the pillar")
    verb = "changed" if role["exists"] else "created"
    if __opts__["test"]:
        return fanatico_state.answer(name, None, f"the role {name} would be {verb}", changes)
    return _change(
        name,
        changes,
        lambda: _write_role(name, role, wanted, changes),
        lambda: _differences(_role(name, wanted), wanted),
        f"the role {name} was {verb}",
    )


def _role(name, wanted):
    """Return the role as it is in PostgreSQL, or an empty role with ``exists`` False."""
    found = _query(_ROLE, [name])
    role = found[0] if found else {"member_of": [], "verifier": None}
    return {
        **role,
        "exists": bool(found),
        "settings": dict(setting.split("=", 1) for setting in role.get("settings") or []),
        "denied": [
            function for function in wanted["functions"] if not (found and _may_execute(name, function))
        ],
    }


def _differences(role, wanted):
    """Return the differences of a role as ``changes``. A password appears only as "set" or "replaced", since this is shown."""
    changes = {
        key: {"old": role.get(key), "new": value}
        for key, value in wanted["attributes"].items()
        if role.get(key) != value
    }
    verifier = role["verifier"]
    if not (verifier and fanatico_scram.matches(wanted["password"], verifier)):
        changes["password"] = "replaced" if verifier else "set"
    missing = [group for group in wanted["member_of"] if group not in role["member_of"]]
    if missing:
        changes["member_of"] = {"old": role["member_of"], "new": sorted({*role["member_of"], *missing})}
    if role["denied"]:
        changes["functions"] = {"old": None, "new": role["denied"]}
    current = role["settings"]
    other = {key: value for key, value in wanted["settings"].items() if current.get(key) != value}
    if other:
        changes["settings"] = {"old": {key: current.get(key) for key in other}, "new": other}
    return changes


def _write_role(name, role, wanted, changes):
    """Create or change the role, the most important attributes first."""
    options = " ".join(_option(attribute, value) for attribute, value in wanted["attributes"].items())
    literals = {}
    if "password" in changes:
        options += " PASSWORD {verifier}"
        literals["verifier"] = fanatico_scram.verifier(wanted["password"])
    verb = "ALTER" if role["exists"] else "CREATE"
    _query(
        f"{verb} ROLE {{role}} WITH {options}", identifiers={"role": name}, literals=literals, logged=False
    )
    for group in wanted["member_of"]:
        if group not in role["member_of"]:
            _query("GRANT {group} TO {role}", identifiers={"group": group, "role": name})
    for setting, value in changes.get("settings", {"new": {}})["new"].items():
        sql = "ALTER ROLE {role} SET {setting} TO {value}"
        _query(sql, identifiers={"role": name, "setting": setting}, literals={"value": value})
    for function in role["denied"]:
        _query(f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {{role}}", identifiers={"role": name})


def _change(name, changes, write, compare, done):
    """
    Write, read again, and return the answer of the state. Its changes contain what was applied, also if the rest was refused.

    write
        A function that changes the server; raises ``CommandExecutionError`` if the server refuses.
    compare
        A function that returns the remaining differences, as ``changes``.
    done
        The comment if everything was applied.
    """
    why = ""
    try:
        write()
    except CommandExecutionError as exc:
        why = str(exc)
    try:
        left = compare()
    except CommandExecutionError as exc:
        comment = f"{why}; " if why else ""
        return fanatico_state.answer(name, False, f"{comment}cannot read the current state of {name}: {exc}")
    if left and not why:
        why = (
            f"{__opts__['id']}: PostgreSQL accepted the change of {name}, but it is not in effect: "
            f"{fanatico_state.not_applied(left)}. Next: salt {__opts__['id']} fanatico_postgres.status"
        )
    if why:
        return fanatico_state.answer(name, False, why, _applied(changes, left))
    return fanatico_state.answer(name, True, done, changes)


def _applied(changes, left):
    """Return the changes that were applied; of a list of memberships, functions or settings only the applied items."""
    made = fanatico_state.applied(changes, left)
    for key in changes.keys() & left.keys() & {"member_of", "functions", "settings", "connect"}:
        old, new = changes[key]["old"], changes[key]["new"]
        if key == "settings":
            part = {setting: value for setting, value in new.items() if setting not in left[key]["new"]}
            old = {setting: old[setting] for setting in part}
        elif key == "member_of":
            part = left[key]["old"] if left[key]["old"] != old else []
        else:
            part = [item for item in new if item not in left[key]["new"]]
        if part:
            made[key] = {"old": old, "new": part}
    return made


def _option(attribute, value):
    """Return an attribute as an option of CREATE ROLE."""
    if attribute == "connections":
        return f"CONNECTION LIMIT {int(value)}"
    return attribute.upper() if value else f"NO{attribute.upper()}"


def _may_execute(name, function):
    sql = "SELECT has_function_privilege(%s, %s, 'execute') AS answer"
    return _query(sql, [name, f"pg_catalog.{function}"])[0]["answer"]


def _other_password(name):
    me = __opts__["id"]
    replace = """state.apply postgresql.roles pillar='{"postgresql": {"replace_passwords": true}}'"""
    return (
        f"{me}: the password of the role {name} in the running cluster differs from the password in this node's pillar: the "
        "cluster was founded with other secrets, or the password was changed in PostgreSQL. It was not changed, because clients "
        "may use it. Next: import the cluster's password into the pillar: salt-run fanatico.secrets_import. To set the pillar's "
        f"password in the cluster instead: salt {me} {replace}, then a highstate of all database nodes"
    )


def database_present(name, owner, timeout=30):
    """
    Ensure a database with this owner.

    name
        The database.
    owner
        An existing role.
    timeout
        Seconds to wait for a primary.
    """
    return _on_primary(name, "database", timeout, lambda: _ensure_database(name, owner))


def _ensure_database(name, owner):
    old = _owner(name)
    changes = _other_owner(old, owner)
    if not changes:
        return fanatico_state.answer(name, True, f"the database {name} belongs to {owner}")
    if __opts__["test"]:
        comment = (
            f"the owner of the database {name} would be changed"
            if old
            else f"the database {name} would be created"
        )
        return fanatico_state.answer(name, None, comment, changes)
    verb = "ALTER DATABASE {database} OWNER TO" if old else "CREATE DATABASE {database} OWNER"
    names = {"database": name, "owner": owner}
    return _change(
        name,
        changes,
        lambda: _query(f"{verb} {{owner}}", identifiers=names, timeout=30),
        lambda: _other_owner(_owner(name), owner),
        f"the database {name} now belongs to {owner}",
    )


def _owner(name):
    found = _query("SELECT pg_get_userbyid(datdba) AS owner FROM pg_database WHERE datname = %s", [name])
    return found[0]["owner"] if found else None


def _other_owner(old, owner):
    return {} if old == owner else {"owner": {"old": old, "new": owner}}


def database_closed(name, roles=(), timeout=30):
    """
    Allow connections to a database only for its owner, superusers and these roles.

    name
        The database.
    roles
        The roles that may connect.
    timeout
        Seconds to wait for a primary.
    """
    return _on_primary(name, "database", timeout, lambda: _ensure_closed(name, roles))


def _ensure_closed(name, roles):
    changes = _grants_to_change(name, roles)
    if not changes:
        return fanatico_state.answer(name, True, f"connections to the database {name} are restricted")
    if __opts__["test"]:
        comment = f"connections to the database {name} would be restricted"
        return fanatico_state.answer(name, None, comment, changes)
    return _change(
        name,
        changes,
        lambda: _restrict(name, changes),
        lambda: _grants_to_change(name, roles),
        f"connections to the database {name} are now restricted",
    )


def _grants_to_change(name, roles):
    """Return the grants to change, as ``changes``, so that these roles and not the public may connect."""
    changes = {}
    missing = [role for role in roles if not _granted(name, role)]
    if missing:
        changes["connect"] = {"old": None, "new": missing}
    if _granted(name, None):
        changes["public"] = {"old": "connect", "new": None}
    return changes


def _restrict(name, changes):
    # Grant first: the allowed roles can connect at any moment.
    for role in changes.get("connect", {"new": []})["new"]:
        names = {"database": name, "role": role}
        _query("GRANT CONNECT ON DATABASE {database} TO {role}", identifiers=names)
    if "public" in changes:
        _query("REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC", identifiers={"database": name})


def _granted(database, role):
    """Return whether a role, or the public for None, has the right to connect to a database."""
    sql = """
        SELECT EXISTS (
            SELECT FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) AS given
             WHERE datname = %s AND given.privilege_type = 'CONNECT'
               AND given.grantee = coalesce((SELECT oid FROM pg_roles WHERE rolname = %s), 0)
        ) AS answer
    """
    return _query(sql, [database, role])[0]["answer"]
