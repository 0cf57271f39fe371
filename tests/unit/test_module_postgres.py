"""fanatico_postgres over a fake connection; psycopg itself is not tested."""

import contextlib
import datetime
import decimal
import sys
import types

import psycopg
import pytest
from psycopg.sql import Composed
from salt.exceptions import CommandExecutionError

from _modules import fanatico_postgres


@pytest.fixture
def facts():
    return {
        "in_recovery": False,
        "read_only": False,
        "version": "17.11 (Debian 17.11-1.pgdg13+1)",
        "max_connections": 100,
        "synchronous_standby_names": 'ANY 1 ("db2","db3")',
        "connections": 7,
        "full_roles": {},
        "checksum_failures": 0,
        "sync_standbys": 2,
        "timeline": 3,
    }


@pytest.fixture
def server(monkeypatch, facts):
    """`rows`: the result of the next query; `error`: what it raises; `connected`, `executed`: the calls."""
    fake = types.SimpleNamespace(rows=[facts], error=None, connected={}, executed=[])

    @contextlib.contextmanager
    def connect(**options):
        fake.connected = options
        if fake.error:
            raise fake.error
        yield types.SimpleNamespace(execute=execute)

    def execute(statement, args):
        fake.executed.append((statement, args))
        description = None if fake.rows is None else ["column"]
        return types.SimpleNamespace(description=description, fetchall=lambda: fake.rows)

    monkeypatch.setattr(psycopg, "connect", connect)
    return fake


@pytest.fixture
def configure_loader_modules(plan, server):
    secrets = {
        "POSTGRES_SUPERUSER_PASSWORD": "super",
        "POSTGRES_FANATICO_PASSWORD": "fan",
        "POSTGRES_PROOF_PASSWORD": "prove",
    }
    return {
        fanatico_postgres: {
            "__pillar__": {"plan": plan, "secrets": secrets},
            "__opts__": {"id": "db1"},
            "__salt__": {
                "fanatico_pki.paths": lambda authority: {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
            },
        }
    }


def bad(checks):
    return {name: check["status"] for name, check in checks.items() if check["status"] != "ok"}


def test_a_healthy_primary():
    checks = fanatico_postgres.checks()
    assert bad(checks) == {}
    assert checks.keys() == {"postgres.sql", "postgres.write", "postgres.pages", "postgres.connections"}
    assert checks["postgres.sql"]["value"] == "primary"


def test_a_replica_has_no_writes_to_check(facts):
    facts.update(in_recovery=True, read_only=True, synchronous_standby_names="", sync_standbys=0)
    checks = fanatico_postgres.checks()
    assert bad(checks) == {}
    assert "postgres.write" not in checks


def test_a_read_only_primary_is_critical(facts):
    facts["read_only"] = True
    assert bad(fanatico_postgres.checks()) == {"postgres.write": "critical"}


def test_a_primary_whose_commits_wait_is_critical(facts):
    facts["sync_standbys"] = 0
    checks = fanatico_postgres.checks()
    assert bad(checks) == {"postgres.write": "critical"}
    assert "every commit waits" in checks["postgres.write"]["detail"]


def test_without_synchronous_replication_commits_do_not_wait(facts):
    facts.update(synchronous_standby_names="", sync_standbys=0)
    assert bad(fanatico_postgres.checks()) == {}


def test_nearly_out_of_connections_is_degraded(facts):
    facts["connections"] = 95
    assert bad(fanatico_postgres.checks()) == {"postgres.connections": "degraded"}


def test_a_role_near_its_connection_limit_is_named(facts):
    facts["full_roles"] = {"fanatico": [80, 80]}
    seen = fanatico_postgres.checks()
    assert bad(seen) == {"postgres.connections": "degraded"}
    assert "fanatico uses 80 of its 80" in seen["postgres.connections"]["detail"]


def test_an_unlogged_statement(server):
    fanatico_postgres.query("SELECT 1")
    assert "log_statement" not in server.connected["options"]
    fanatico_postgres.query("ALTER ROLE a PASSWORD 'SCRAM-SHA-256$…'", logged=False)
    for word in ("log_statement=none", "log_min_error_statement=panic", "log_min_duration_statement=-1"):
        assert f"-c {word}" in server.connected["options"]


def test_the_proof_uses_the_virtual_ip_and_its_own_database(server):
    fanatico_postgres.proof("SELECT 1", port="postgres_replica")
    asked = {key: server.connected[key] for key in ("host", "port", "dbname", "user", "password")}
    assert asked == {
        "host": "10.0.0.100",
        "port": 5433,
        "dbname": "fanatico_proof",
        "user": "fanatico_proof",
        "password": "prove",
    }


def test_has_proof(server):
    server.rows = [{"there": True}]
    assert fanatico_postgres.has_proof() is True
    server.rows = [{"there": False}]
    assert fanatico_postgres.has_proof() is False
    server.rows = []
    assert fanatico_postgres.has_proof() is False
    server.error = psycopg.OperationalError("no answer")
    assert fanatico_postgres.has_proof() is None
    del fanatico_postgres.__pillar__["secrets"]["POSTGRES_PROOF_PASSWORD"]
    assert fanatico_postgres.has_proof() is False


def test_no_answer_is_a_single_critical_check(server):
    server.error = psycopg.OperationalError(
        "connection failed: No such file or directory\n\tIs the server running?"
    )
    checks = fanatico_postgres.checks()
    assert bad(checks) == {"postgres.sql": "critical"}
    assert "db1: PostgreSQL at /var/run/postgresql port 5432" in checks["postgres.sql"]["detail"]
    assert "Is the server" not in checks["postgres.sql"]["detail"]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ('connection failed: FATAL:  password authentication failed for user "admin"', "password-refused"),
        ("connection failed: Connection refused", ""),
    ],
)
def test_a_refused_password_has_an_error_class_of_its_own(server, said, code):
    server.error = psycopg.OperationalError(said)
    with pytest.raises(CommandExecutionError) as raised:
        fanatico_postgres.query("SELECT 1")
    assert getattr(raised.value, "code", "") == code


def test_the_local_socket_and_the_pillars_password(server):
    fanatico_postgres.query("SELECT 1")
    assert server.connected["host"] == "/var/run/postgresql"
    assert (server.connected["user"], server.connected["password"]) == ("postgres", "super")
    assert server.connected["autocommit"] is True
    assert server.connected["options"] == "-c statement_timeout=5000"


def test_another_server_as_another_user(server):
    fanatico_postgres.query(
        "SELECT 1", dbname="fanatico", user="fanatico", host="10.0.0.100", port=5433, timeout=1
    )
    asked = server.connected
    assert (asked["sslmode"], asked["sslrootcert"], asked["sslcert"]) == ("verify-full", "ca.pem", "cert.pem")
    assert (asked["host"], asked["port"], asked["dbname"]) == ("10.0.0.100", 5433, "fanatico")
    assert (asked["password"], asked["connect_timeout"]) == ("fan", 2)


def test_a_role_without_a_secret(server):
    fanatico_postgres.query("SELECT 1", user="guest")
    assert server.connected["password"] is None
    fanatico_postgres.query("SELECT 1", user="guest", password="own")
    assert server.connected["password"] == "own"


def test_names_and_values_are_quoted_by_psycopg(server):
    fanatico_postgres.query(
        "CREATE ROLE {role} PASSWORD {word}", identifiers={"role": 'a"b'}, literals={"word": "it's"}
    )
    [(statement, _)] = server.executed
    assert isinstance(statement, Composed)
    text = statement.as_string(None)
    assert text == """CREATE ROLE "a""b" PASSWORD 'it''s'"""


def test_values_are_sent_as_parameters(server):
    fanatico_postgres.query("SELECT %s", [1])
    assert server.executed[0][1] == [1]


def test_rows_are_plain_data(server):
    server.rows = [
        {
            "when": datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC),
            "number": decimal.Decimal("1.50"),
            "bytes": b"\x01\xff",
            "list": [datetime.date(2026, 11, 23), 1],
            "none": None,
            "json": {"a": 1},
        }
    ]
    assert fanatico_postgres.query("SELECT") == [
        {
            "when": "2026-11-23 00:00:00+00:00",
            "number": "1.50",
            "bytes": "01ff",
            "list": ["2026-11-23", 1],
            "none": None,
            "json": {"a": 1},
        }
    ]


def test_a_statement_without_rows(server):
    server.rows = None
    assert fanatico_postgres.query("CREATE TABLE a ()") == []


def test_the_statement_is_never_in_the_error(server):
    server.error = psycopg.errors.UndefinedTable('relation "a" does not exist')
    with pytest.raises(CommandExecutionError) as caught:
        fanatico_postgres.query("SELECT 'a secret' FROM a")
    assert "a secret" not in str(caught.value)
    assert 'relation "a" does not exist' in str(caught.value)


def test_ping_and_recovery(server):
    assert fanatico_postgres.ping() is True
    server.rows = [{"answer": True}]
    assert fanatico_postgres.is_in_recovery() is True
    server.error = psycopg.OperationalError("refused")
    assert fanatico_postgres.ping() is False
    with pytest.raises(CommandExecutionError, match="refused"):
        fanatico_postgres.is_in_recovery()


def test_without_psycopg_the_error_names_it_and_health_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    check = fanatico_postgres.checks()["postgres.sql"]
    assert check["status"] == "critical"
    assert "psycopg is not installed" in check["detail"]


@pytest.mark.parametrize(("in_recovery", "step"), [(True, "reinitialize"), (False, "switchover")])
def test_damaged_pages_name_what_replaces_them(facts, in_recovery, step):
    assert fanatico_postgres.checks()["postgres.pages"]["status"] == "ok"
    facts.update(checksum_failures=2, in_recovery=in_recovery)
    check = fanatico_postgres.checks()["postgres.pages"]
    assert (check["status"], check["value"]) == ("degraded", 2)
    assert step in check["hint"]
