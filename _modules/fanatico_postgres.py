"""
PostgreSQL on this node, through psycopg.

By default over the Unix socket as superuser, which works without the network. psycopg is imported at the first query: the
import takes a tenth of a second, which nodes without PostgreSQL need not spend.
"""

import datetime
import decimal

from salt.exceptions import CommandExecutionError

import fanatico_patroni_plan
import fanatico_plan
import fanatico_postgres_checks
import fanatico_postgres_limits


class _PasswordRefused(CommandExecutionError):
    """The server has another password for the role."""

    code = "password-refused"


SOCKET_DIRECTORY = "/var/run/postgresql"
SUPERUSER = "postgres"

# The secret with the password of a role; for other roles the caller passes the password.
SECRET_OF = {
    "postgres": "POSTGRES_SUPERUSER_PASSWORD",
    "admin": "POSTGRES_ADMIN_PASSWORD",
    "replicator": "POSTGRES_REPLICATOR_PASSWORD",
    "rewind": "POSTGRES_REWIND_PASSWORD",
    "fanatico": "POSTGRES_FANATICO_PASSWORD",
    "fanatico_proof": "POSTGRES_PROOF_PASSWORD",
}
# The database for proofs, canaries and drills, and the role that owns it: separate from the application's.
PROOF = "fanatico_proof"

# A statement with a password verifier is never logged, not even if it fails or is slow.
_UNLOGGED = " -c log_statement=none -c log_min_error_statement=panic -c log_min_duration_statement=-1"

_FACTS = """
    SELECT pg_is_in_recovery() AS in_recovery,
           current_setting('transaction_read_only') = 'on' AS read_only,
           current_setting('server_version') AS version,
           current_setting('max_connections')::int AS max_connections,
           current_setting('synchronous_standby_names') AS synchronous_standby_names,
           (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int AS connections,
           (SELECT coalesce(json_object_agg(r.rolname, json_build_array(a.used, r.rolconnlimit)), '{}')
              FROM (SELECT usesysid, count(*) AS used FROM pg_stat_activity
                     WHERE backend_type = 'client backend' GROUP BY usesysid) AS a
              JOIN pg_roles AS r ON r.oid = a.usesysid
             WHERE r.rolconnlimit > 0 AND a.used > 0.9 * r.rolconnlimit) AS full_roles,
           (SELECT coalesce(sum(checksum_failures), 0) FROM pg_stat_database)::int AS checksum_failures,
           (SELECT count(*) FROM pg_stat_replication
             WHERE sync_state IN ('sync', 'quorum'))::int AS sync_standbys,
           CASE WHEN NOT pg_is_in_recovery()
                THEN ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int
           END AS timeline
"""


def _get(path, default=None):
    return fanatico_plan.get(__pillar__, path, default)


def _setting(path):
    return fanatico_plan.setting(__pillar__, path)


def _plain(value):
    """Return ``value`` as a type that msgpack and JSON support."""
    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal)):
        return str(value)
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str, dict)) else str(value)


def _verified(host):
    """Return the TLS settings of a network connection, which verify the server; empty for the Unix socket."""
    if not host:
        return {}
    paths = __salt__["fanatico_pki.paths"]("service")
    verified = {"sslmode": "verify-full", "sslrootcert": paths["ca"]}
    return verified | ({"sslcert": paths["cert"], "sslkey": paths["key"]} if paths["cert"] else {})


def query(
    sql: str,
    args: list | dict | None = None,
    dbname: str = "postgres",
    user: str = SUPERUSER,
    host: str | None = None,
    port: int | None = None,
    identifiers: dict[str, str] | None = None,
    literals: dict | None = None,
    password: str | None = None,
    replicated: bool = True,
    logged: bool = True,
    timeout: float = 5,
) -> list[dict]:
    """
    Run one SQL statement in a transaction of its own and return its rows as a list of dicts.

    sql
        The statement. ``%s`` and ``%(name)s`` are placeholders for ``args``, ``{name}`` for ``identifiers`` and ``literals``.
    args
        List or dict of values, sent as parameters.
    dbname
        The database.
    user
        The role to connect as.
    host
        Address of the server; default: the local Unix socket.
    port
        Port of the server; default: the plan's.
    identifiers
        ``{placeholder: name}`` of tables, roles and so on, quoted by psycopg.
    literals
        ``{placeholder: value}``, quoted by psycopg, for statements without parameters (``CREATE ROLE``).
    password
        Only for a role without a secret in the pillar.
    replicated
        False: the commit does not wait for a standby. For statements that can be repeated and must not hang without standbys.
    logged
        False: the server does not log the statement. For the superuser only.
    timeout
        Seconds to connect, and seconds for the statement.

    Raises ``CommandExecutionError`` with the server's message; the statement is never part of it.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_postgres.query 'SELECT pg_is_in_recovery()'
        salt db1 fanatico_postgres.query 'SELECT * FROM pg_roles WHERE rolname = %s' '[fanatico]'
    """
    psycopg, compose, dict_row = _psycopg()
    statement = compose.SQL(sql)
    if identifiers or literals:
        parts = {name: compose.Identifier(value) for name, value in (identifiers or {}).items()}
        parts.update({name: compose.Literal(value) for name, value in (literals or {}).items()})
        statement = statement.format(**parts)
    port = port or _setting("plan:ports:postgres")
    where = f"{host or SOCKET_DIRECTORY} port {port}"
    try:
        with psycopg.connect(
            **_verified(host),
            host=host or SOCKET_DIRECTORY,
            port=port,
            dbname=dbname,
            user=user,
            password=password or _get(f"secrets:{SECRET_OF.get(user)}"),
            connect_timeout=max(2, int(timeout)),
            options=_options(timeout, replicated, logged),
            application_name="fanatico",
            autocommit=True,
            row_factory=dict_row,
        ) as connection:
            cursor = connection.execute(statement, args)
            rows = cursor.fetchall() if cursor.description else []
    except psycopg.Error as exc:
        message = exc.diag.message_primary or str(exc).strip().partition("\n")[0]
        # libpq has no SQLSTATE for a session that was not opened, only the server's message.
        kind = _PasswordRefused if "password authentication failed" in message else CommandExecutionError
        raise kind(f"{__opts__['id']}: PostgreSQL at {where}, user {user}: {message}") from exc
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _psycopg():
    """Import psycopg and return what is needed of it; the module loads without psycopg too."""
    try:
        import psycopg
        from psycopg import sql as compose
        from psycopg.rows import dict_row
    except ImportError as exc:
        raise CommandExecutionError(
            f"{__opts__['id']}: psycopg is not installed: {exc}. Next: salt-call state.apply minion"
        ) from exc
    return psycopg, compose, dict_row


def _options(timeout, replicated, logged):
    """Return the settings of a session as libpq's ``options``."""
    local = "" if replicated else " -c synchronous_commit=local"
    return f"-c statement_timeout={int(timeout * 1000)}{local}{'' if logged else _UNLOGGED}"


def proof(
    sql: str, args: list | dict | None = None, port: str = "postgres_primary", timeout: float = 3
) -> list[dict]:
    """
    Run one statement through the virtual IP in the database ``fanatico_proof``, as ``query`` does.

    sql, args
        As for ``query``.
    port
        ``postgres_primary`` or ``postgres_replica``.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_postgres.proof 'SELECT inet_server_addr()'
    """
    plan = __pillar__["plan"]
    where = {"host": plan["virtual_ip"]["address"], "port": plan["ports"][port]}
    return query(sql, args, dbname=PROOF, user=PROOF, timeout=timeout, **where)


def has_proof(timeout: float = 2) -> bool | None:
    """
    Return whether the database ``fanatico_proof`` and its table exist, as this node's PostgreSQL reports; None if not known.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_postgres.has_proof
    """
    if not _get(f"secrets:{SECRET_OF[PROOF]}"):
        return False
    try:
        if not query("SELECT 1 FROM pg_database WHERE datname = %s", [PROOF], timeout=timeout):
            return False
        table = "SELECT to_regclass('public.proof') IS NOT NULL AS there"
        return query(table, dbname=PROOF, timeout=timeout)[0]["there"]
    except CommandExecutionError:
        return None


def application_connections() -> int:
    """
    Return the connection limit of the application's role.

    It is ``postgresql:application:connections``, or ``max_connections`` less the connections of the cluster's own roles.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_postgres.application_connections
    """
    return fanatico_postgres_limits.application_connections(__pillar__)


def wanted() -> dict:
    """
    Return the pillar's ``postgresql`` with derived settings: ``data_dir``, ``bin_dir`` and the ``parameters`` in force.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_postgres.wanted
    """
    return fanatico_patroni_plan.postgresql(__pillar__)


def status(timeout: float = 2) -> dict:
    """
    Return the status of PostgreSQL: version, recovery, timeline, connections, synchronous standbys.

    timeout
        Seconds.

    Raises ``CommandExecutionError`` if it does not answer.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_postgres.status
    """
    return query(_FACTS, timeout=timeout)[0]


def ping(timeout: float = 2) -> bool:
    """
    Return whether PostgreSQL on this node answers a query.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_postgres.ping
    """
    try:
        query("SELECT 1", timeout=timeout)
    except CommandExecutionError:
        return False
    return True


def is_in_recovery(timeout: float = 2) -> bool:
    """
    Return whether PostgreSQL on this node is a replica; raise ``CommandExecutionError`` if it does not answer.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_postgres.is_in_recovery
    """
    return query("SELECT pg_is_in_recovery() AS answer", timeout=timeout)[0]["answer"]


def probe(timeout: float = 2) -> dict:
    """
    Probe PostgreSQL once: ``{"facts": {...}, "checks": {name: check}}``. Never raises.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_postgres.probe
    """
    try:
        facts = status(timeout)
    except CommandExecutionError as exc:
        facts = {"error": str(exc)}
    return {"facts": facts, "checks": fanatico_postgres_checks.member(facts, __opts__["id"])}


def checks(timeout: float = 2) -> dict[str, dict]:
    """
    Return the checks of PostgreSQL on this node, ``{name: check}``.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_postgres.checks
    """
    return probe(timeout)["checks"]
