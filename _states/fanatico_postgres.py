"""
Roles and databases of PostgreSQL, on the primary alone: the replicas have them from there.

Passwords are compared with the verifiers that PostgreSQL stores, and sent as verifiers: neither its log nor an answer
of these states ever holds one.
"""

import subprocess

from salt.exceptions import CommandExecutionError

import fanatico_plan
import fanatico_scram
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


def _answer(name, result, comment, changes=None):
    return {"name": name, "result": result, "comment": comment, "changes": changes or {}}


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
        return _answer(name, True, "PostgreSQL starts with these parameters")
    comment = (
        f"{__opts__['id']}: PostgreSQL would not start with the pillar's parameters: {why}. Nothing was changed. "
        "Next: put postgresql:parameters right, or install on this host what they name"
    )
    return _answer(name, False, comment)


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
        return _answer(
            name, False, f"{__opts__['id']} has no {secret} in its pillar: salt-run fanatico.secrets_init"
        )
    wanted = {"login": True, **{one: bool((attributes or {}).get(one)) for one in _ATTRIBUTES}}
    if connections is not None:
        wanted["connections"] = connections
    rest = member_of or [], functions or [], settings or {}, replace_password
    return _on_primary(name, "role", timeout, lambda: _keep_role(name, password, wanted, *rest))


def _on_primary(name, kind, timeout, keep):
    """Have the primary keep what all share; elsewhere there is nothing to do, and an error is the state's failure."""
    try:
        elsewhere = _elsewhere(timeout)
        if elsewhere:
            return _answer(name, True, f"{elsewhere} is the primary and keeps the {kind} {name}")
        return keep()
    except CommandExecutionError as exc:
        return _answer(name, False, str(exc))


def _keep_role(name, password, wanted, member_of, functions, settings, replace_password):
    found = _query(_ROLE, [name])
    role = found[0] if found else {"member_of": [], "verifier": None}
    known = bool(role["verifier"]) and fanatico_scram.matches(password, role["verifier"])
    if role["verifier"] and not known and not replace_password:
        return _answer(name, False, _other_password(name))
    changes = {
        key: {"old": role.get(key), "new": value} for key, value in wanted.items() if role.get(key) != value
    }
    if not known:
        changes["password"] = "set" if not role["verifier"] else "replaced"
    missing = [one for one in member_of if one not in role["member_of"]]
    if missing:
        changes["member_of"] = {"old": role["member_of"], "new": sorted({*role["member_of"], *missing})}
    denied = [one for one in functions if not (found and _may_execute(name, one))]
    if denied:
        changes["functions"] = {"old": None, "new": denied}
    held = dict(one.split("=", 1) for one in role.get("settings") or [])
    other = {key: str(one) for key, one in settings.items() if one is not None and held.get(key) != str(one)}
    if other:
        changes["settings"] = {"old": {key: held.get(key) for key in other}, "new": other}
    if not changes:
        return _answer(name, True, f"the role {name} is right")
    if __opts__["test"]:
        return _answer(name, None, f"the role {name} would be changed", changes)
    words = " ".join(_word(one, value) for one, value in wanted.items())
    literals = {}
    if not known:
        words += " PASSWORD {verifier}"
        literals["verifier"] = fanatico_scram.verifier(password)
    verb = "ALTER" if found else "CREATE"
    _query(f"{verb} ROLE {{role}} WITH {words}", identifiers={"role": name}, literals=literals, logged=False)
    for one in missing:
        _query("GRANT {one} TO {role}", identifiers={"one": one, "role": name})
    for one, value in other.items():
        sql = "ALTER ROLE {role} SET {setting} TO {value}"
        _query(sql, identifiers={"role": name, "setting": one}, literals={"value": value})
    for one in denied:
        _query(f"GRANT EXECUTE ON FUNCTION pg_catalog.{one} TO {{role}}", identifiers={"role": name})
    return _answer(name, True, f"the role {name} was {'changed' if found else 'made'}", changes)


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
    found = _query("SELECT pg_get_userbyid(datdba) AS owner FROM pg_database WHERE datname = %s", [name])
    old = found[0]["owner"] if found else None
    if old == owner:
        return _answer(name, True, f"the database {name} belongs to {owner}")
    changes = {"owner": {"old": old, "new": owner}}
    if __opts__["test"]:
        return _answer(
            name, None, f"the database {name} would be {'given away' if found else 'made'}", changes
        )
    sql = (
        "ALTER DATABASE {database} OWNER TO {owner}" if found else "CREATE DATABASE {database} OWNER {owner}"
    )
    _query(sql, identifiers={"database": name, "owner": owner}, timeout=30)
    return _answer(name, True, f"the database {name} belongs to {owner} now", changes)


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
    lacking = [one for one in roles if not _granted(name, one)]
    public = _granted(name, None)
    if not public and not lacking:
        return _answer(name, True, f"the database {name} is closed")
    changes = {"connect": {"old": ["public"] if public else [], "new": list(roles)}}
    if __opts__["test"]:
        return _answer(name, None, f"the database {name} would be closed", changes)
    # Those that may first: nobody of them is kept out in between.
    for one in lacking:
        _query("GRANT CONNECT ON DATABASE {database} TO {role}", identifiers={"database": name, "role": one})
    if public:
        _query("REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC", identifiers={"database": name})
    return _answer(name, True, f"the database {name} is closed now", changes)


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
