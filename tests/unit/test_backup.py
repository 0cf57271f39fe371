"""Backups: pgBackRest's configuration, what its answers mean, and the state that prepares the repository."""

import copy
import json
import types

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_backup_checks as judge
import fanatico_pgbackrest as pgbackrest
from _modules import fanatico_archive as archive
from _modules import fanatico_backup as backup
from _states import fanatico_backup as state
from tests.support import pillar as pillars

NOW = 1_800_000_000
HOUR = 3600


@pytest.fixture
def pillar(plan):
    found = {name: pillars.shipped(name) for name in ("backup", "postgresql")}
    return {"plan": copy.deepcopy(plan), **found, "secrets": {"BACKUP_PASSPHRASE": "p" * 32}}


@pytest.fixture
def salt():
    return {}


@pytest.fixture
def configure_loader_modules(pillar, salt):
    own = {"__opts__": {"id": "ops1", "test": False}, "__pillar__": pillar, "__salt__": salt}
    return dict.fromkeys((archive, backup, state), own)


class TestConfiguration:
    """pgbackrest.conf."""

    def test_the_passphrase_is_in_no_answer(self):
        """Answers go over the event bus, and arguments of states into logs."""
        text = backup.configuration()
        assert f"repo1-cipher-pass={pgbackrest.PASSPHRASE}" in text
        assert "p" * 32 not in text

    def test_a_database_host_has_none(self, pillar):
        assert "cipher" not in pgbackrest.text(pgbackrest.sections(pillar, "db1"))

    def test_the_backup_host_connects_to_every_database(self, pillar):
        main = pgbackrest.sections(pillar, "ops1")["main"]
        assert [main[f"pg{n}-host"] for n in (1, 2, 3)] == ["10.0.2.10", "10.0.2.11", "10.0.2.12"]
        assert {main[f"pg{n}-host-type"] for n in (1, 2, 3)} == {"tls"}
        assert main["pg3-path"] == "/var/lib/postgresql/17/main"

    def test_a_database_sends_to_the_backup_host(self, pillar):
        found = pgbackrest.sections(pillar, "db2")
        assert found["global"]["repo1-host"] == "10.0.4.10"
        assert found["global"]["archive-async"] == "y"
        assert found["global"]["compress-type"] == "zst", "the sender compresses"
        assert found["global:archive-get"] == {"archive-async": "n"}
        assert "pg1-host" not in found["main"]

    def test_databases_do_not_connect_to_each_other(self, pillar):
        assert pgbackrest.sections(pillar, "db1")["global"]["tls-server-auth"] == ["ops1=main"]
        auth = pgbackrest.sections(pillar, "ops1")["global"]["tls-server-auth"]
        assert auth == ["db1=main", "db2=main", "db3=main", "ops1=main"]

    def test_both_roles_on_one_host(self, pillar):
        pillar["plan"]["nodes"]["db1"]["roles"] = ["patroni", "backup"]
        found = pgbackrest.sections(pillar, "db1")
        assert "pg1-host" not in found["main"], "its own database is local"
        assert found["main"]["pg2-host"] == "10.0.2.11"
        assert "repo1-host" not in found["global"]
        assert found["global"]["archive-async"] == "y"

    def test_two_backup_hosts(self, pillar):
        pillar["plan"]["nodes"]["ops2"] = {"address": "10.0.4.11", "roles": ["backup"]}
        found = pgbackrest.sections(pillar, "db1")["global"]
        assert (found["repo1-host"], found["repo2-host"]) == ("10.0.4.10", "10.0.4.11")

    def test_a_list_is_a_line_for_each_value(self):
        assert pgbackrest.text({"global": {"a": "1", "b": ["2", "3"]}}) == "[global]\na=1\nb=2\nb=3\n"

    def test_without_a_backup_host_nothing_is_kept(self, pillar):
        assert pgbackrest.archive_command(pillar["plan"]) == "/usr/local/lib/fanatico/pgbackrest-archive %p"
        del pillar["plan"]["nodes"]["ops1"]
        assert pgbackrest.archive_command(pillar["plan"]) == "/bin/true"


def stanza(code=0, message="ok", *backups):
    made = [
        {
            "label": f"{kind}{number}",
            "type": kind,
            "timestamp": {"start": NOW - age - 60, "stop": NOW - age},
            "info": {"size": 100, "repository": {"delta": 10}},
            "error": error,
        }
        for number, (kind, age, error) in enumerate(backups)
    ]
    span = [{"min": "01", "max": "09"}] if made else []
    return [{"status": {"code": code, "message": message}, "backup": made, "archive": span}]


GOOD = stanza(0, "ok", ("full", 30 * HOUR, False), ("incr", 5 * HOUR, False))


class TestRepository:
    """The checks of the repository."""

    def checks(self, pillar, stanzas):
        facts = {"info": judge.read(stanzas), "drill": None}
        return judge.repository(facts, "ops1", pillar["backup"], NOW)

    def test_all_is_well(self, pillar):
        found = self.checks(pillar, GOOD)
        assert {check["status"] for check in found.values()} == {"ok"}
        assert found["backup.repository"]["detail"] == "2 backups, WAL up to 09"
        assert found["backup.last"]["detail"] == "last: incr1, 5.0 h ago; last full: 30.0 h ago"

    @pytest.mark.parametrize(
        "stanzas",
        [
            stanza(2, "no valid backups"),
            stanza(0, "ok", ("full", 27 * HOUR, False)),
            stanza(0, "ok", ("full", 217 * HOUR, False), ("incr", HOUR, False)),
            stanza(0, "ok", ("full", HOUR, False), ("incr", HOUR, True)),
            stanza(0, "ok", ("incr", HOUR, False)),
        ],
    )
    def test_a_backup_is_missing_old_or_damaged(self, pillar, stanzas):
        found = self.checks(pillar, stanzas)
        assert found["backup.repository"]["status"] == "ok"
        assert found["backup.last"]["status"] == "degraded"
        assert "fanatico_backup.make full" in found["backup.last"]["hint"]

    @pytest.mark.parametrize("stanzas", [[], stanza(1, "missing stanza path"), stanza(99, "other")])
    def test_a_repository_that_does_not_know_the_cluster(self, pillar, stanzas):
        assert self.checks(pillar, stanzas)["backup.repository"]["status"] == "critical"

    def test_a_repository_that_cannot_be_read(self, pillar):
        found = judge.repository({"error": "no result within 2 s"}, "ops1", pillar["backup"], NOW)
        assert found["backup.repository"]["status"] == "critical"


class TestArchiving:
    """The check of archiving."""

    FACTS = {"in_recovery": False, "waiting": 1, "waiting_age": 20, "archived_age": 30, "failed_age": None}

    def judged(self, has_repository=True, **facts):
        return judge.archiving({**self.FACTS, **facts}, "db1", has_repository, 60)

    def test_wal_on_its_way(self):
        assert self.judged()["status"] == "ok"
        assert self.judged(waiting=0, waiting_age=None, archived_age=None)["status"] == "ok"

    def test_wal_that_waits_too_long(self):
        found = self.judged(waiting=7, waiting_age=400, failed_age=3)
        assert found["status"] == "degraded"
        assert "7 segments of WAL wait" in found["detail"]
        assert "failed 3 s ago" in found["detail"]

    def test_a_replica_archives_nothing(self):
        assert self.judged(in_recovery=True, waiting_age=4000)["status"] == "ok"

    def test_without_a_repository_health_says_so(self):
        found = self.judged(has_repository=False)
        assert (found["status"], "nothing is archived" in found["detail"]) == ("ok", True)

    def test_a_postgresql_that_does_not_answer(self):
        assert judge.archiving({"error": "refused"}, "db1", True, 60)["status"] == "unknown"

    def test_the_probe_asks_postgresql_and_every_repository(self, salt, tmp_path):
        archive.__opts__["id"] = "db1"
        salt["fanatico_postgres.query"] = lambda sql, timeout: [self.FACTS]
        salt["fanatico_postgres.wanted"] = lambda: {"data_dir": str(tmp_path)}
        (tmp_path / "pg_wal").mkdir()

        def unreachable(host, timeout):
            raise CommandExecutionError(f"{host}: refused")

        salt["fanatico_backup.reachable"] = unreachable
        found = archive.checks()
        assert found["archive.push"]["status"] == "ok"
        assert found["archive.repository"]["status"] == "degraded"
        assert "ops1: refused" in found["archive.repository"]["detail"]

    def test_a_backup_host_has_nothing_to_archive(self):
        assert archive.checks() == {}


class TestModule:
    """The calls of pgBackRest."""

    @pytest.fixture
    def run(self, monkeypatch):
        calls, done = [], types.SimpleNamespace(returncode=0, stdout="", stderr="")

        def run(*argv, timeout=20):
            calls.append(argv)
            return done

        monkeypatch.setattr(backup.fanatico_pgbackrest_run.fanatico_probe, "run", run)
        done.calls = calls
        return done

    def test_info(self, run):
        run.stdout = json.dumps(GOOD)
        assert [one["type"] for one in backup.info()["backups"]] == ["full", "incr"]
        (argv,) = run.calls
        assert argv[:4] == ("runuser", "-u", "postgres", "--")
        assert argv[-3:] == ("info", "--repo=1", "--output=json")

    def test_its_message_is_the_error(self, run):
        run.returncode, run.stderr = 56, "ERROR: [056]: unable to find primary cluster\n - cannot proceed"
        with pytest.raises(
            CommandExecutionError, match=r"ops1: pgbackrest check failed with code 56: .*primary"
        ):
            backup.check()

    def test_an_unknown_type(self, run):
        with pytest.raises(CommandExecutionError, match="the types are full, diff, incr"):
            backup.make("weekly")
        assert run.calls == []

    def test_a_backup_runs_in_the_background(self, run):
        assert backup.make("diff") == "fanatico-backup@diff.service"
        assert run.calls == [("systemctl", "start", "--no-block", "fanatico-backup@diff.service")]


class TestState:
    """The repository knows the cluster."""

    @pytest.fixture
    def host(self, salt):
        host = types.SimpleNamespace(stanzas=[], active="inactive", done=[], created=False)

        def info(repository):
            if isinstance(host.stanzas, Exception):
                raise host.stanzas
            return judge.read(host.stanzas)

        def create(repository):
            host.done.append("create")

        salt |= {
            "fanatico_backup.info": info,
            "fanatico_backup.create_stanza": create,
            "fanatico_backup.make": lambda kind, repository: host.done.append(kind),
            "fanatico_backup.s3_created": lambda: host.created,
            "fanatico_backup.s3_note": lambda: host.done.append("noted"),
            "fanatico_unit.states": lambda unit: {unit: {"active": host.active}},
        }
        return host

    def test_a_new_repository(self, host):
        answer = state.repository_present("/repo")
        assert answer["result"] is True
        assert host.done == ["create", "full"]
        assert set(answer["changes"]) == {"/repo", "first backup"}

    def test_the_first_backup_runs_already(self, host):
        host.stanzas, host.active = stanza(2, "no valid backups"), "activating"
        assert state.repository_present("/repo")["changes"] == {}
        assert host.done == []

    def test_nothing_to_do(self, host):
        host.stanzas = GOOD
        answer = state.repository_present("/repo")
        assert (answer["result"], answer["changes"], host.done) == (True, {}, [])

    def test_a_dry_run(self, host):
        state.__opts__["test"] = True
        assert state.repository_present("/repo")["result"] is None
        assert host.done == []

    def test_a_repository_of_another_cluster_is_not_touched(self, host):
        host.stanzas = stanza(5, "database mismatch across repos")
        answer = state.repository_present("/repo")
        assert (answer["result"], host.done) == (False, [])
        assert "database mismatch" in answer["comment"]

    def test_the_primary_does_not_answer(self, host, salt):
        def create(repository):
            raise CommandExecutionError("ops1: pgbackrest stanza-create failed with code 56: no primary")

        salt["fanatico_backup.create_stanza"] = create
        answer = state.repository_present("/repo", timeout=0)
        assert answer["result"] is False
        assert "no primary" in answer["comment"]

    def test_a_message_of_bytes_that_could_not_be_decrypted(self):
        found = judge.read(stanza(99, "[CryptoError] header \udcbc\x07\x1b[31m is invalid"))
        assert found["message"] == "[CryptoError] header [31m is invalid"

    def test_the_message_is_that_of_the_repository(self):
        (one,) = stanza(99, "other")
        one["repo"] = [{"status": {"code": 99, "message": "[FormatError] key/value found"}}]
        assert judge.read([one])["message"] == "[FormatError] key/value found"
