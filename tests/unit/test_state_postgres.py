"""Roles, passwords and databases, managed on the primary."""

import json
from unittest.mock import Mock

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_scram
from _modules import fanatico_patroni, fanatico_postgres
from _states import fanatico_postgres as state

PASSWORD = "correct horse battery staple"


class TestVerifier:
    """SCRAM-SHA-256 as PostgreSQL stores it."""

    def test_known_answer(self):
        """RFC 7677's example: user `user`, password `pencil`."""
        import base64

        salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
        made = fanatico_scram.verifier("pencil", salt)
        assert made.startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
        assert made.endswith(
            "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        )

    def test_it_matches_only_its_password(self):
        made = fanatico_scram.verifier(PASSWORD)
        assert fanatico_scram.matches(PASSWORD, made)
        assert not fanatico_scram.matches(PASSWORD + "!", made)

    def test_every_verifier_has_a_new_salt(self):
        assert fanatico_scram.verifier(PASSWORD) != fanatico_scram.verifier(PASSWORD)

    def test_other_iterations(self):
        assert fanatico_scram.matches(PASSWORD, fanatico_scram.verifier(PASSWORD, iterations=1000))

    @pytest.mark.parametrize("stored", [None, "", "md5" + "0" * 32, "SCRAM-SHA-256$x", "nonsense"])
    def test_other_text_matches_no_password(self, stored):
        assert not fanatico_scram.matches(PASSWORD, stored)


@pytest.fixture
def configure_loader_modules(plan):
    return {
        state: {
            "__opts__": {"id": "db1", "test": False},
            "__pillar__": {"plan": plan, "secrets": {"THE_SECRET": PASSWORD}},
        }
    }


@pytest.fixture
def server(monkeypatch):
    """A primary with one role and one database in it."""

    class Server:
        def __init__(self):
            self.leader = "db1"
            self.recovery = False
            self.role = {
                "login": True,
                "superuser": False,
                "createrole": False,
                "createdb": False,
                "replication": False,
                "verifier": fanatico_scram.verifier(PASSWORD),
                "member_of": [],
                "connections": -1,
                "settings": None,
            }
            self.connect = {None, "postgres"}
            self.owner = "fanatico"
            self.executable = True
            self.orders = []
            self.forgets = False  # accepts a statement without effect

        def query(
            self,
            sql,
            args=None,
            identifiers=None,
            literals=None,
            replicated=True,
            logged=True,
            timeout=5,
            **_,
        ):
            assert replicated is False
            assert not (logged and literals and "verifier" in literals), "the log would have it"
            if "aclexplode" in sql:
                return [{"answer": args[1] in self.connect}]
            if "pg_authid" in sql:
                return [dict(self.role)] if self.role else []
            if "has_function_privilege" in sql:
                return [{"answer": self.executable}]
            if "pg_database" in sql:
                return [{"owner": self.owner}] if self.owner else []
            self.orders.append((" ".join(sql.split()), identifiers, literals))
            if not self.forgets:
                self.take(sql, identifiers or {}, literals or {})
            return []

        def take(self, sql, names, literals):
            """Apply a statement."""
            words = sql.split()
            if "ROLE {role} WITH" in sql:
                self.role = self.role or {
                    "member_of": [],
                    "settings": None,
                    "verifier": None,
                    "connections": -1,
                }
                for one in ("login", "superuser", "createrole", "createdb", "replication"):
                    self.role[one] = one.upper() in words
                self.role["verifier"] = literals.get("verifier", self.role["verifier"])
                if "LIMIT" in words:
                    self.role["connections"] = int(words[words.index("LIMIT") + 1])
            elif "SET {setting}" in sql:
                self.role["settings"] = [
                    *(self.role["settings"] or []),
                    f"{names['setting']}={literals['value']}",
                ]
            elif sql.startswith("GRANT EXECUTE"):
                self.executable = True
            elif sql.startswith("GRANT CONNECT"):
                self.connect.add(names["role"])
            elif sql.startswith("GRANT"):
                self.role["member_of"] = [*self.role["member_of"], names["group"]]
            elif sql.startswith("REVOKE CONNECT"):
                self.connect.discard(None)
            elif "DATABASE" in sql:
                self.owner = names["owner"]

        def keep(self, **options):
            return state.role_present("fanatico", "THE_SECRET", timeout=0, **options)

        def keep_database(self):
            return state.database_present("fanatico", "fanatico", timeout=0)

    it = Server()
    leader = Mock(spec=fanatico_patroni.leader, side_effect=lambda timeout=2: it.leader)
    recovery = Mock(spec=fanatico_postgres.is_in_recovery, side_effect=lambda timeout=2: it.recovery)
    salt = {
        "fanatico_patroni.leader": leader,
        "fanatico_postgres.is_in_recovery": recovery,
        "fanatico_postgres.query": Mock(spec=fanatico_postgres.query, side_effect=it.query),
    }
    monkeypatch.setattr(state, "__salt__", salt, raising=False)
    return it


class TestRole:
    """A role, with its attributes and its password."""

    def test_nothing_to_do(self, server):
        answer = server.keep()
        assert (answer["result"], answer["changes"], server.orders) == (True, {}, [])

    def test_a_replica_changes_nothing(self, server):
        server.leader, server.role = "db2", None
        answer = server.keep()
        assert (answer["result"], answer["changes"], server.orders) == (True, {}, [])
        assert "db2" in answer["comment"]

    @pytest.mark.parametrize(("leader", "recovery"), [(None, False), ("db1", True)])
    def test_no_primary(self, server, leader, recovery):
        server.leader, server.recovery = leader, recovery
        answer = server.keep()
        assert answer["result"] is False
        assert answer["comment"].startswith("db1: ")

    def test_a_role_is_created_with_a_verifier_not_the_password(self, server):
        server.role = None
        answer = server.keep(
            attributes={"createdb": True}, member_of=["pg_monitor"], functions=["pg_ls_dir(text)"]
        )
        assert answer["result"] is True
        assert answer["changes"]["password"] == "set"
        sql, identifiers, literals = server.orders[0]
        assert sql == (
            "CREATE ROLE {role} WITH LOGIN NOSUPERUSER NOCREATEROLE CREATEDB NOREPLICATION PASSWORD {verifier}"
        )
        assert identifiers == {"role": "fanatico"}
        assert fanatico_scram.matches(PASSWORD, literals["verifier"])
        assert [order[0] for order in server.orders[1:]] == [
            "GRANT {group} TO {role}",
            "GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text) TO {role}",
        ]
        assert PASSWORD not in json.dumps([answer, server.orders])

    def test_other_attributes_are_removed(self, server):
        server.role["superuser"] = True
        answer = server.keep()
        assert answer["changes"] == {"superuser": {"old": True, "new": False}}
        assert server.orders[0][0] == (
            "ALTER ROLE {role} WITH LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION"
        )

    def test_a_different_password_is_kept_and_reported(self, server):
        server.role["verifier"] = fanatico_scram.verifier("something else")
        answer = server.keep()
        assert answer["result"] is False
        assert server.orders == []
        assert answer["comment"].startswith("db1: ")
        assert "role fanatico" in answer["comment"]
        assert "\n" not in answer["comment"]

    def test_a_different_password_is_replaced_if_allowed(self, server):
        server.role["verifier"] = fanatico_scram.verifier("something else")
        answer = server.keep(replace_password=True)
        assert answer["changes"] == {"password": "replaced"}
        assert fanatico_scram.matches(PASSWORD, server.orders[0][2]["verifier"])

    def test_memberships_are_added_and_none_removed(self, server):
        server.role["member_of"] = ["reporting"]
        answer = server.keep(member_of=["pg_monitor"])
        assert answer["changes"] == {"member_of": {"old": ["reporting"], "new": ["pg_monitor", "reporting"]}}

    def test_a_function_it_may_not_execute(self, server):
        server.executable = False
        answer = server.keep(functions=["pg_ls_dir(text)"])
        assert answer["changes"] == {"functions": {"old": None, "new": ["pg_ls_dir(text)"]}}

    def test_a_dry_run_shows_the_changes_and_makes_none(self, server):
        server.role = None
        state.__opts__["test"] = True
        answer = server.keep()
        assert answer["result"] is None
        assert answer["changes"]["password"] == "set"
        assert server.orders == []

    def test_a_missing_secret_is_named(self, server):
        del state.__pillar__["secrets"]["THE_SECRET"]
        answer = server.keep()
        assert answer["result"] is False
        assert "THE_SECRET" in answer["comment"]

    def test_a_refusal_of_the_server_is_reported(self, server):
        server.role["superuser"] = True
        query = state.__salt__["fanatico_postgres.query"]

        def refuse(sql, *args, **options):
            if sql.startswith("ALTER"):
                raise CommandExecutionError("db1: PostgreSQL: disk full")
            return server.query(sql, *args, **options)

        query.side_effect = refuse
        answer = server.keep()
        assert (answer["result"], answer["changes"]) == (False, {})
        assert "disk full" in answer["comment"]

    def test_changes_before_a_refusal_are_reported(self, server):
        server.role = None

        def refuse(sql, *args, identifiers=None, **options):
            if sql.startswith("GRANT {group}") and identifiers["group"] == "second":
                raise CommandExecutionError("db1: PostgreSQL: no such role")
            return server.query(sql, *args, identifiers=identifiers, **options)

        state.__salt__["fanatico_postgres.query"].side_effect = refuse
        answer = server.keep(member_of=["first", "second"], settings={"statement_timeout": "30s"})
        assert answer["result"] is False
        assert answer["comment"] == "db1: PostgreSQL: no such role"
        assert answer["changes"]["password"] == "set"
        assert answer["changes"]["member_of"] == {"old": [], "new": ["first"]}
        assert "settings" not in answer["changes"]

    def test_a_change_without_effect_is_a_failure(self, server):
        server.role["superuser"], server.forgets = True, True
        answer = server.keep()
        assert (answer["result"], answer["changes"]) == (False, {})
        assert "superuser: expected False, found True" in answer["comment"]

    def test_a_server_that_cannot_be_read_again_is_reported(self, server):
        server.role["superuser"] = True

        def vanish(sql, *args, **options):
            if server.orders:
                raise CommandExecutionError("db1: PostgreSQL: connection refused")
            return server.query(sql, *args, **options)

        state.__salt__["fanatico_postgres.query"].side_effect = vanish
        answer = server.keep()
        assert answer["result"] is False
        assert "db1: PostgreSQL: connection refused" in answer["comment"]

    def test_limits_and_settings_follow_the_pillar(self, server):
        limits = {"connections": 180, "settings": {"statement_timeout": "30s", "temp_file_limit": None}}
        answer = server.keep(**limits)
        assert answer["changes"] == {
            "connections": {"old": -1, "new": 180},
            "settings": {"old": {"statement_timeout": None}, "new": {"statement_timeout": "30s"}},
        }
        assert server.orders[0][0].endswith("NOREPLICATION CONNECTION LIMIT 180")
        assert server.orders[1] == (
            "ALTER ROLE {role} SET {setting} TO {value}",
            {"role": "fanatico", "setting": "statement_timeout"},
            {"value": "30s"},
        )
        server.role |= {"connections": 180, "settings": ["statement_timeout=30s", "work_mem=1GB"]}
        server.orders.clear()
        assert server.keep(**limits)["changes"] == {}
        assert server.orders == []

    def test_limits_that_are_not_listed_stay(self, server):
        server.role |= {"connections": 5, "settings": ["default_transaction_read_only=on"]}
        assert server.keep()["changes"] == {}


class TestClosed:
    """A database with restricted connections."""

    def close(self, *roles):
        return state.database_closed("postgres", roles, timeout=0)

    def test_grants_come_before_the_revocation(self, server):
        answer = self.close("rewind")
        assert answer["changes"] == {
            "connect": {"old": None, "new": ["rewind"]},
            "public": {"old": "connect", "new": None},
        }
        assert [order[0] for order in server.orders] == [
            "GRANT CONNECT ON DATABASE {database} TO {role}",
            "REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC",
        ]

    def test_grants_before_a_refusal_are_reported(self, server):
        def refuse(sql, *args, **options):
            if sql.startswith("REVOKE"):
                raise CommandExecutionError("db1: PostgreSQL: must be owner")
            return server.query(sql, *args, **options)

        state.__salt__["fanatico_postgres.query"].side_effect = refuse
        answer = self.close("rewind")
        assert (answer["result"], answer["comment"]) == (False, "db1: PostgreSQL: must be owner")
        assert answer["changes"] == {"connect": {"old": None, "new": ["rewind"]}}

    def test_a_database_that_stays_open_is_a_failure(self, server):
        server.forgets = True
        answer = self.close("rewind")
        assert (answer["result"], answer["changes"]) == (False, {})
        assert (
            "connect: expected rewind, found nothing; public: expected nothing, found connect"
            in answer["comment"]
        )

    def test_nothing_to_do(self, server):
        server.connect = {"rewind"}
        assert (self.close("rewind")["changes"], server.orders) == ({}, [])

    def test_a_replica_and_a_dry_run_do_nothing(self, server):
        state.__opts__["test"] = True
        assert self.close("rewind")["result"] is None
        server.leader = "db2"
        assert self.close("rewind")["result"] is True
        assert server.orders == []


class TestDatabase:
    """A database and its owner."""

    def test_nothing_to_do(self, server):
        answer = server.keep_database()
        assert (answer["result"], answer["changes"], server.orders) == (True, {}, [])

    @pytest.mark.parametrize(
        ("owner", "order"),
        [
            (None, "CREATE DATABASE {database} OWNER {owner}"),
            ("postgres", "ALTER DATABASE {database} OWNER TO {owner}"),
        ],
    )
    def test_created_or_with_a_new_owner(self, server, owner, order):
        server.owner = owner
        answer = server.keep_database()
        assert answer["changes"] == {"owner": {"old": owner, "new": "fanatico"}}
        assert server.orders[0][0] == order

    def test_a_change_without_effect_is_a_failure(self, server):
        server.owner, server.forgets = "postgres", True
        answer = server.keep_database()
        assert (answer["result"], answer["changes"]) == (False, {})
        assert "owner: expected fanatico, found postgres" in answer["comment"]

    def test_a_dry_run(self, server):
        server.owner = None
        state.__opts__["test"] = True
        answer = server.keep_database()
        assert answer["result"] is None
        assert server.orders == []

    def test_a_replica_changes_nothing(self, server):
        server.leader, server.owner = "db2", None
        assert server.keep_database()["changes"] == {}
