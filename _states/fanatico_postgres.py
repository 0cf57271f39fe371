"""
Roles and databases of PostgreSQL, on the primary alone: the replicas have them from there.

Passwords are compared with the verifiers that PostgreSQL stores, and sent as verifiers: neither its log nor an answer
of these states ever holds one.
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
    # Without waiting for a standby: on a first deploy there is none yet, and what is lost is done again.
    return __salt__["fanatico_postgres.query"](sql, args, replicated=False, **options)


def _elsewhere(timeout):
    """
    Return who leads where that is another node, or None where it is this one and takes writes.

    Raises ``CommandExecutionError`` where nobody leads within ``timeout`` seconds.
    """
    me = __opts__["id"]

    def look():
        leader = __salt__["fanatico_patroni.leader"]()
        if leader is None:
            return False, "no leader"
        if leader == me and __salt__["fanatico_postgres.is_in_recovery"]():
            return False, f"{me} has the lead and is being promoted"
        return True, leader

    done, seen = fanatico_wait.until(look, 0 if __opts__["test"] else timeout)
    if not done:
        raise CommandExecutionError(
            f"{me}: roles and databases are kept on the primary, and there is none: {seen}. "
            f"Next: salt {me} fanatico_patroni.cluster"
        )
    return None if seen == me else seen


def startable(name, parameters, bin_dir, data_dir):
    """
    Make sure that PostgreSQL on this host can start with its parameters, before they reach the cluster. Changes nothing.

    A library that is not installed here, a value that PostgreSQL refuses, more memory than there is: with one of them in etcd
    the members go on until their next restart, and then none of them starts.

    name
        For people.
    parameters
        ``{name: value}``, as ``postgresql:parameters``.
    bin_dir, data_dir
        Where PostgreSQL's programs and its data are.
    """
    try:
        why = __salt__["fanatico_postgres.refuses"](parameters, bin_dir, data_dir)
    except (OSError, KeyError, subprocess.SubprocessError) as exc:
        why = f"it could not be tried ({exc})"  # nobody knows: the cluster keeps what it has
    if not why:
        return fanatico_state.answer(name, True, "PostgreSQL starts with these parameters")
    comment = (
        f"{__opts__['id']}: PostgreSQL would not start with the pillar's parameters: {why}. Nothing was changed. "
        "Next: put postgresql:parameters right, or install on this host what they name"
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
    Have a role that may log in, with exactly these attributes and the password from the pillar.

    name
        The role.
    secret
        The name of its password under ``secrets`` in the pillar.
    attributes
        Those of ``superuser``, ``createrole``, ``createdb`` and ``replication`` that it has; it loses the others.
    member_of
        Roles it is a member of; others are left alone.
    functions
        Functions of PostgreSQL it may execute, with their argument types.
    connections
        How many it may have at once; without, nothing is changed.
    settings
        ``{parameter: value}`` that its sessions start with; a value of None, and what is not named, is left alone.
    replace_password
        Whether a password that the role already has may be replaced. Without, a different one is a failure.
    timeout
        Seconds to wait for a primary.
    """
    password = fanatico_plan.get(__pillar__, f"secrets:{secret}")
    if not password:
        return fanatico_state.answer(
            name, False, f"{__opts__['id']} has no {secret} in its pillar: salt-run fanatico.secrets_init"
        )
    wanted = {"login": True, **{one: bool((attributes or {}).get(one)) for one in _ATTRIBUTES}}
    if connections is not None:
        wanted["connections"] = connections
    wanted = {
        "attributes": wanted,
        "password": password,
        "member_of": member_of or [],
        "functions": functions or [],
        "settings": {key: str(one) for key, one in (settings or {}).items() if one is not None},
    }
    return _on_primary(name, "role", timeout, lambda: _keep_role(name, wanted, replace_password))


def _on_primary(name, kind, timeout, keep):
    """Have the primary keep what all share; elsewhere there is nothing to do, and an error is the state's failure."""
    try:
        elsewhere = _elsewhere(timeout)
        if elsewhere:
            return fanatico_state.answer(
                name, True, f"{elsewhere} is the primary and keeps the {kind} {name}"
            )
        return keep()
    except CommandExecutionError as exc:
        return fanatico_state.answer(name, False, str(exc))


def _keep_role(name, wanted, replace_password):
    role = _role(name, wanted)
    verifier = role["verifier"]
    if verifier and not replace_password and not fanatico_scram.matches(wanted["password"], verifier):
        return fanatico_state.answer(name, False, _other_password(name))
    changes = _differences(role, wanted)
    if not changes:
        return fanatico_state.answer(name, True, f"the role {name} is right")
    if __opts__["test"]:
        return fanatico_state.answer(name, None, f"the role {name} would be changed", changes)
    done = f"the role {name} was {'changed' if role['there'] else 'made'}"
    return _change(
        name,
        changes,
        lambda: _write_role(name, role, wanted, changes),
        lambda: _differences(_role(name, wanted), wanted),
        done,
    )


def _role(name, wanted):
    """Return the role as it is; where it is not ``there``, as it would be without anything."""
    found = _query(_ROLE, [name])
    role = found[0] if found else {"member_of": [], "verifier": None}
    return {
        **role,
        "there": bool(found),
        "settings": dict(one.split("=", 1) for one in role.get("settings") or []),
        "denied": [one for one in wanted["functions"] if not (found and _may_execute(name, one))],
    }


def _differences(role, wanted):
    """Return what there is to change about a role; of the password only whether, since this is shown."""
    changes = {
        key: {"old": role.get(key), "new": value}
        for key, value in wanted["attributes"].items()
        if role.get(key) != value
    }
    verifier = role["verifier"]
    if not (verifier and fanatico_scram.matches(wanted["password"], verifier)):
        changes["password"] = "replaced" if verifier else "set"
    missing = [one for one in wanted["member_of"] if one not in role["member_of"]]
    if missing:
        changes["member_of"] = {"old": role["member_of"], "new": sorted({*role["member_of"], *missing})}
    if role["denied"]:
        changes["functions"] = {"old": None, "new": role["denied"]}
    held = role["settings"]
    other = {key: one for key, one in wanted["settings"].items() if held.get(key) != one}
    if other:
        changes["settings"] = {"old": {key: held.get(key) for key in other}, "new": other}
    return changes


def _write_role(name, role, wanted, changes):
    """Make or change the role, what matters most first."""
    words = " ".join(_word(one, value) for one, value in wanted["attributes"].items())
    literals = {}
    if "password" in changes:
        words += " PASSWORD {verifier}"
        literals["verifier"] = fanatico_scram.verifier(wanted["password"])
    verb = "ALTER" if role["there"] else "CREATE"
    _query(f"{verb} ROLE {{role}} WITH {words}", identifiers={"role": name}, literals=literals, logged=False)
    for one in wanted["member_of"]:
        if one not in role["member_of"]:
            _query("GRANT {one} TO {role}", identifiers={"one": one, "role": name})
    for one, value in changes.get("settings", {"new": {}})["new"].items():
        sql = "ALTER ROLE {role} SET {setting} TO {value}"
        _query(sql, identifiers={"role": name, "setting": one}, literals={"value": value})
    for one in role["denied"]:
        _query(f"GRANT EXECUTE ON FUNCTION pg_catalog.{one} TO {{role}}", identifiers={"role": name})


def _change(name, changes, write, look, done):
    """
    Write, read again, and answer: what took is in the changes, also where the rest was refused.

    write
        Changes the server; raises ``CommandExecutionError`` where that refuses.
    look
        Returns what there is to change, as ``changes``.
    done
        The comment where all of it took.
    """
    why = ""
    try:
        write()
    except CommandExecutionError as exc:
        why = str(exc)
    try:
        left = look()
    except CommandExecutionError as exc:
        comment = f"{why}; " if why else ""
        return fanatico_state.answer(name, False, f"{comment}what is there now could not be read: {exc}")
    if left and not why:
        why = (
            f"{__opts__['id']}: PostgreSQL took the change of {name}, and it is not there: "
            f"{fanatico_state.not_applied(left)}. Next: salt {__opts__['id']} fanatico_postgres.status"
        )
    if why:
        return fanatico_state.answer(name, False, why, _taken(changes, left))
    return fanatico_state.answer(name, True, done, changes)


def _taken(changes, left):
    """Return the changes that are made, and of several memberships, functions or settings those that are."""
    made = fanatico_state.applied(changes, left)
    for key in changes.keys() & left.keys() & {"member_of", "functions", "settings", "connect"}:
        old, new = changes[key]["old"], changes[key]["new"]
        if key == "settings":
            part = {one: value for one, value in new.items() if one not in left[key]["new"]}
            old = {one: old[one] for one in part}
        elif key == "member_of":
            part = left[key]["old"] if left[key]["old"] != old else []
        else:
            part = [one for one in new if one not in left[key]["new"]]
        if part:
            made[key] = {"old": old, "new": part}
    return made


def _word(attribute, value):
    """Return an attribute as CREATE ROLE takes it."""
    if attribute == "connections":
        return f"CONNECTION LIMIT {int(value)}"
    return attribute.upper() if value else f"NO{attribute.upper()}"


def _may_execute(name, function):
    sql = "SELECT has_function_privilege(%s, %s, 'execute') AS answer"
    return _query(sql, [name, f"pg_catalog.{function}"])[0]["answer"]


def _other_password(name):
    me = __opts__["id"]
    order = """state.apply postgresql.roles pillar='{"postgresql": {"replace_passwords": true}}'"""
    return (
        f"{me}: in the running cluster the role {name} has another password than in this node's pillar: the cluster was "
        "founded with other secrets, or somebody has changed it. It was left as it is, because somebody uses it. "
        "Next: put the cluster's own password into the pillar (salt-run fanatico.secrets_import); or, where the pillar's "
        f"is to be the new one: salt {me} {order}, then a highstate of all database nodes"
    )


def database_present(name, owner, timeout=30):
    """
    Have a database with this owner.

    name
        The database.
    owner
        A role that exists.
    timeout
        Seconds to wait for a primary.
    """
    return _on_primary(name, "database", timeout, lambda: _keep_database(name, owner))


def _keep_database(name, owner):
    old = _owner(name)
    changes = _other_owner(old, owner)
    if not changes:
        return fanatico_state.answer(name, True, f"the database {name} belongs to {owner}")
    if __opts__["test"]:
        comment = f"the database {name} would be {'given away' if old else 'made'}"
        return fanatico_state.answer(name, None, comment, changes)
    verb = "ALTER DATABASE {database} OWNER TO" if old else "CREATE DATABASE {database} OWNER"
    names = {"database": name, "owner": owner}
    return _change(
        name,
        changes,
        lambda: _query(f"{verb} {{owner}}", identifiers=names, timeout=30),
        lambda: _other_owner(_owner(name), owner),
        f"the database {name} belongs to {owner} now",
    )


def _owner(name):
    found = _query("SELECT pg_get_userbyid(datdba) AS owner FROM pg_database WHERE datname = %s", [name])
    return found[0]["owner"] if found else None


def _other_owner(old, owner):
    return {} if old == owner else {"owner": {"old": old, "new": owner}}


def database_closed(name, roles=(), timeout=30):
    """
    Let nobody connect to a database but its owner, superusers and these roles.

    name
        The database.
    roles
        Those that may.
    timeout
        Seconds to wait for a primary.
    """
    return _on_primary(name, "database", timeout, lambda: _close_database(name, roles))


def _close_database(name, roles):
    changes = _open_to_others(name, roles)
    if not changes:
        return fanatico_state.answer(name, True, f"the database {name} is closed")
    if __opts__["test"]:
        return fanatico_state.answer(name, None, f"the database {name} would be closed", changes)
    return _change(
        name,
        changes,
        lambda: _close(name, changes),
        lambda: _open_to_others(name, roles),
        f"the database {name} is closed now",
    )


def _open_to_others(name, roles):
    """Return what there is to change until these roles, and not everybody, may connect."""
    changes = {}
    lacking = [one for one in roles if not _granted(name, one)]
    if lacking:
        changes["connect"] = {"old": None, "new": lacking}
    if _granted(name, None):
        changes["public"] = {"old": "connect", "new": None}
    return changes


def _close(name, changes):
    # Those that may first: nobody of them is kept out in between.
    for one in changes.get("connect", {"new": []})["new"]:
        names = {"database": name, "role": one}
        _query("GRANT CONNECT ON DATABASE {database} TO {role}", identifiers=names)
    if "public" in changes:
        _query("REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC", identifiers={"database": name})


def _granted(database, role):
    """Tell whether a role, or everybody, was given the right to connect to a database."""
    sql = """
        SELECT EXISTS (
            SELECT FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) AS given
             WHERE datname = %s AND given.privilege_type = 'CONNECT'
               AND given.grantee = coalesce((SELECT oid FROM pg_roles WHERE rolname = %s), 0)
        ) AS answer
    """
    return _query(sql, [database, role])[0]["answer"]
