"""Several repositories: their indexes, the settings of S3, signed requests, and the mark."""

import copy
import datetime
import hashlib
import pathlib
import types

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_backup_checks as judge
import fanatico_backup_limits as limits
import fanatico_guard
import fanatico_pgbackrest as pgbackrest
import fanatico_plan
import fanatico_s3
from _modules import fanatico_backup_mark as marks
from _modules import fanatico_backup_s3 as store
from _states import fanatico_backup as state
from tests.support import pillar as pillars

NOW = 1_800_000_000
GIVEN = {"endpoint": "s3.example.org", "region": "eu-central-1", "bucket": "backups"}
KEYS = {"BACKUP_S3_KEY": "k9Wq3xZb7TnRv2Lm", "BACKUP_S3_KEY_SECRET": "x7Lw2Kx9Rn4Tz1Hb3Mf6Jp5Gs8Dc0Wa"}


@pytest.fixture
def pillar(plan, tmp_path):
    found = {name: pillars.shipped(name) for name in ("backup", "postgresql")}
    found["backup"]["path"] = str(tmp_path / "repository")
    return {"plan": copy.deepcopy(plan), **found, "secrets": dict(KEYS)}


@pytest.fixture
def in_s3(pillar):
    pillar["backup"]["s3"] |= GIVEN
    return pillar


@pytest.fixture
def configure_loader_modules(pillar):
    salt = {
        "fanatico_backup.lost": lambda: marks.lost(),
        "fanatico_backup.marked": lambda: marks.marked(),
        "fanatico_backup.mark": lambda: marks.mark(),
    }
    own = {"__opts__": {"id": "ops1", "test": False}, "__pillar__": pillar, "__salt__": salt}
    return dict.fromkeys((marks, store, state), own)


class TestIndexes:
    """pgBackRest passes the index of a repository to the host that has it."""

    @pytest.fixture
    def two(self, in_s3):
        in_s3["plan"]["nodes"]["ops2"] = {"address": "10.0.4.11", "roles": ["backup"]}
        return in_s3

    def test_a_repository_has_one_index_on_all_hosts(self, two):
        ours = {host: pgbackrest.sections(two, host)["global"] for host in ("ops1", "ops2", "db1")}
        assert ours["ops1"]["repo1-path"] == ours["ops2"]["repo2-path"]
        assert [key for key in ours["ops1"] if key.startswith("repo2")] == []
        assert [key for key in ours["ops2"] if key.startswith(("repo1", "repo3"))] == []
        assert [ours["db1"][f"repo{n}-host"] for n in (1, 2)] == ["10.0.4.10", "10.0.4.11"]
        assert "repo3-host" not in ours["db1"], "S3 is not in the path of a segment"
        assert pgbackrest.own(two, "ops1") == {"local": 1, "s3": 3}
        assert pgbackrest.own(two, "ops2") == {"local": 2}

    def test_the_first_backup_host_alone_talks_to_s3(self, two):
        assert pgbackrest.s3_sections(two, "ops1")["global"]["repo3-s3-bucket"] == "backups"
        assert pgbackrest.s3_sections(two, "ops2") == pgbackrest.s3_sections(two, "db1") == {}

    def test_a_backup_host_with_a_database_sends_to_the_others_too(self, two):
        two["plan"]["nodes"]["db1"]["roles"] = ["patroni", "backup"]
        found = pgbackrest.sections(two, "db1")["global"]
        number = pgbackrest.own(two, "db1")["local"]
        others = {1, 2, 3} - {number}
        assert {f"repo{n}-host" for n in others} <= set(found)
        assert (f"repo{number}-host" in found, f"repo{number}-path" in found) == (False, True)

    def test_no_secret_is_in_it(self, in_s3):
        text = pgbackrest.text(pgbackrest.s3_sections(in_s3, "ops1"))
        assert [value for value in KEYS.values() if value in text] == []
        assert pgbackrest.S3_KEY in text

    def test_its_timers_exist_only_with_it(self, pillar):
        def timers():
            return [name for name in fanatico_guard.units_of("backup", settings=pillar) if "s3" in name]

        assert timers() == []
        pillar["backup"]["s3"] |= GIVEN
        assert len(timers()) == 5


class TestSettings:
    """Incomplete and contradicting settings are refused with their path."""

    def faults(self, pillar, **s3):
        pillar["backup"]["s3"] |= s3
        return [":".join(path) for path, _ in limits.s3_faults(pillar)]

    def test_complete(self, pillar):
        assert self.faults(pillar) == []
        assert self.faults(pillar, **GIVEN) == []
        assert self.faults(pillar, ca="x", uri_style="path", endpoint="10.0.4.20") == []

    @pytest.mark.parametrize("name", GIVEN)
    def test_incomplete(self, pillar, name):
        assert self.faults(pillar, **{**GIVEN, name: ""}) == [f"backup:s3:{name}"]

    @pytest.mark.parametrize(
        ("s3", "path"),
        [
            ({"ca": "x", "verify": False}, "verify"),
            ({"endpoint": "10.0.9.1"}, "uri_style"),
            ({"bucket": "my.backups"}, "uri_style"),
        ],
    )
    def test_contradicting(self, pillar, s3, path):
        assert self.faults(pillar, **{**GIVEN, **s3}) == [f"backup:s3:{path}"]

    def test_without_a_backup_host(self, pillar):
        del pillar["plan"]["nodes"]["ops1"]
        assert self.faults(pillar, **GIVEN) == ["backup:s3:bucket"]

    def test_an_endpoint_behind_a_firewall_of_the_plan(self, pillar):
        pillar["firewall"] = {"allow": []}
        given = {**GIVEN, "endpoint": "10.0.0.5", "uri_style": "path"}
        assert self.faults(pillar, **given) == ["backup:s3:endpoint"]
        pillar["firewall"]["allow"] = [{"port": 443}]
        assert self.faults(pillar, **given) == []

    def test_a_node_with_the_site_file_alone(self):
        """Every node has the site file, only some have the defaults."""
        assert list(limits.s3_faults({"backup": {"s3": {"bucket": "b"}}})) == []

    def test_the_keys_are_needed_only_with_it(self, pillar):
        assert fanatico_plan.imported_names(["backup"], pillar) == []
        pillar["backup"]["s3"] |= GIVEN
        assert fanatico_plan.imported_names(["backup"], pillar) == list(KEYS)
        assert fanatico_plan.imported_names(["patroni"], pillar) == []

    def test_limits_of_the_time_left(self, pillar):
        assert list(limits.space_faults(pillar)) == []
        pillar["backup"]["wal_left_critical"] = pillar["backup"]["wal_left"]
        ((path, _),) = limits.space_faults(pillar)
        assert path == ["backup", "wal_left_critical"]


class TestRequests:
    """Requests to S3."""

    def test_a_signed_request(self):
        """Whether a server accepts the signature: tests/lab/test_backup_s3.py."""
        s3 = {**GIVEN, "region": "us-east-1", "port": 443, "uri_style": "host"}
        now = datetime.datetime(2013, 5, 24, tzinfo=datetime.UTC)
        empty = hashlib.sha256(b"").hexdigest()
        url, headers = fanatico_s3.signed("GET", s3, ("AKID", "secret"), "a/b.gpg", empty, now)
        assert url == "https://backups.s3.example.org/a/b.gpg"
        assert headers["x-amz-date"] == "20130524T000000Z"
        assert headers["authorization"].startswith(
            "AWS4-HMAC-SHA256 Credential=AKID/20130524/us-east-1/s3/aws4_request, "
            "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="
        )
        other = fanatico_s3.signed("PUT", s3, ("AKID", "secret"), "a/b.gpg", empty, now)[1]
        assert other["authorization"] != headers["authorization"]

    def test_the_bucket_in_the_path(self):
        s3 = {**GIVEN, "port": 9000, "uri_style": "path"}
        now = datetime.datetime(2026, 11, 30, tzinfo=datetime.UTC)
        url, headers = fanatico_s3.signed("GET", s3, ("k", "s"), "a", "0" * 64, now)
        assert (url, headers["host"]) == ("https://s3.example.org:9000/backups/a", "s3.example.org:9000")

    @pytest.fixture
    def server(self, in_s3, monkeypatch):
        seen = types.SimpleNamespace(asked=[], status=200, sent=b"")

        def request(method, url, data=None, **options):
            seen.asked.append((method, url, options["verify"]))
            seen.sent = data.read() if hasattr(data, "read") else data
            return types.SimpleNamespace(status_code=seen.status, text="<Code>AccessDenied</Code>")

        monkeypatch.setattr(store.requests, "request", request)
        return seen

    def test_a_file_is_put_beside_the_repository(self, server, tmp_path):
        (tmp_path / "one").write_bytes(b"whole")
        done = store.s3_put(str(tmp_path / "one"), "master/one.gpg")
        assert done["object"] == "fanatico-files/master/one.gpg"
        assert (server.sent, done["bytes"]) == (b"whole", 5)
        assert server.asked == [
            (
                "PUT",
                "https://backups.s3.example.org/fanatico-files/master/one.gpg",
                "/etc/ssl/certs/ca-certificates.crt",
            )
        ]

    @pytest.mark.parametrize("name", ["", "/a", "a//b", "../a", "a/..", "a b", "a?x", "a/"])
    def test_no_name(self, server, tmp_path, name):
        (tmp_path / "one").touch()
        with pytest.raises(CommandExecutionError, match="is no name"):
            store.s3_put(str(tmp_path / "one"), name)
        assert server.asked == []

    def test_a_refusal_names_no_key(self, server, tmp_path):
        (tmp_path / "one").touch()
        server.status = 403
        with pytest.raises(CommandExecutionError, match="403 <Code>AccessDenied") as refused:
            store.s3_put(str(tmp_path / "one"), "one")
        assert [value for value in KEYS.values() if value in str(refused.value)] == []

    def test_a_host_without_s3(self, pillar, tmp_path):
        (tmp_path / "one").touch()
        with pytest.raises(CommandExecutionError, match="has no repository in S3"):
            store.s3_put(str(tmp_path / "one"), "one")

    def test_what_was_created_is_remembered_with_its_place(self, in_s3, tmp_path, monkeypatch):
        monkeypatch.setattr(store, "_CREATED", str(tmp_path / "created"))
        assert (store.s3_created(), store.s3_note(), store.s3_created()) == (False, True, True)
        in_s3["backup"]["s3"]["bucket"] = "another"
        assert store.s3_created() is False


class TestMark:
    """A repository that is not mounted is not created again."""

    @pytest.fixture
    def path(self, pillar, tmp_path, monkeypatch):
        monkeypatch.setattr(marks, "_RECORD", str(tmp_path / "record"))
        path = pathlib.Path(pillar["backup"]["path"])
        path.mkdir()
        return path

    def test_a_new_repository(self, path):
        assert marks.lost() == ""
        assert state.mounted(str(path))["result"] is True
        assert state.marked(str(path))["changes"] != {}
        assert state.marked(str(path))["changes"] == {}
        assert (marks.lost(), marks.marked()) == ("", True)

    @pytest.mark.parametrize("there", [True, False])
    def test_the_mark_is_gone(self, path, there):
        marks.mark()
        (path / "fanatico-repository").unlink()
        if not there:
            path.rmdir()
        assert "is its file system mounted" in marks.lost()
        assert state.mounted(str(path))["result"] is False
        assert state.marked(str(path))["result"] is False
        assert not (path / "fanatico-repository").exists()

    def test_another_file_system_is_mounted_there(self, path):
        marks.mark()
        (path / "fanatico-repository").write_text("0" * 32)
        assert state.mounted(str(path))["result"] is False

    def test_another_path_is_another_repository(self, path, pillar):
        marks.mark()
        (path / "fanatico-repository").unlink()
        pillar["backup"]["path"] = str(path.parent / "other")
        assert marks.lost() == ""

    def test_a_reinstalled_host_finds_its_repository(self, path):
        marks.mark()
        before = (path / "fanatico-repository").read_text()
        pathlib.Path(marks._RECORD).unlink()
        assert marks.mark() is True
        assert (path / "fanatico-repository").read_text() == before

    def test_it_is_given_up_by_a_person_alone(self, path):
        marks.mark()
        (path / "fanatico-repository").unlink()
        assert (marks.forget_repository(), marks.forget_repository()) == (True, False)
        assert marks.lost() == ""

    def test_a_damaged_record_is_no_permission(self, path):
        pathlib.Path(marks._RECORD).write_text("{")
        with pytest.raises(CommandExecutionError, match="damaged"):
            marks.lost()


class TestBucket:
    """The checks of the repository in S3."""

    LOCAL = {"info": {"code": 0, "message": "ok", "backups": [], "archive": {}}, "drill": None, "lost": ""}

    def found(self, pillar, s3, **facts):
        state = {"error": "", "waiting": 0, "oldest": None, "sent": NOW, "at": NOW}
        return judge.repository(
            {**self.LOCAL, "s3": s3, "wal_to_s3": state, **facts}, "ops1", pillar["backup"], NOW
        )

    def test_s3_is_away(self, pillar):
        found = self.found(pillar, {"error": "no result within 2 s"})
        assert found["backup.bucket"]["status"] == "degraded"
        assert found["backup.repository"]["status"] == "ok"

    @pytest.mark.parametrize("code", [1, 99])
    def test_it_does_not_know_the_cluster(self, pillar, code):
        info = {"code": code, "message": "m", "backups": [], "archive": {}}
        assert self.found(pillar, {"info": info})["backup.bucket"]["status"] == "degraded"

    def test_its_backups_have_an_age_of_their_own(self, pillar):
        full = {"label": "a", "type": "full", "stop": NOW - 3600, "error": False}
        info = {"code": 0, "message": "ok", "backups": [full], "archive": {"max": "09"}}
        found = self.found(pillar, {"info": info})
        assert found["backup.bucket_last"]["status"] == "ok"
        assert found["backup.last"]["status"] == "degraded"
        assert "make full" in found["backup.last"]["hint"]
        late = {"info": {**info, "backups": [{**full, "stop": NOW - 200 * 3600}]}}
        assert self.found(pillar, late)["backup.bucket_last"]["hint"].endswith("make full s3")

    @pytest.mark.parametrize(
        ("state", "status"),
        [
            ({}, "ok"),
            ({"waiting": 3, "oldest": NOW - 100}, "ok"),
            ({"waiting": 3, "oldest": NOW - 400}, "degraded"),
            ({"error": "403"}, "degraded"),
            ({"at": NOW - 400}, "degraded"),
        ],
    )
    def test_wal_on_its_way(self, pillar, state, status):
        whole = {"error": "", "waiting": 0, "oldest": None, "sent": NOW, "at": NOW, **state}
        found = self.found(pillar, {"error": "x"}, wal_to_s3=whole)
        assert found["backup.bucket_wal"]["status"] == status

    def test_no_wal_was_sent_yet(self, pillar):
        assert self.found(pillar, {"error": "x"}, wal_to_s3=None)["backup.bucket_wal"]["status"] == "unknown"

    @pytest.mark.parametrize(
        "facts",
        [
            {"lost": "not mounted"},
            {"writable": False},
            {"info": {"code": 99, "message": "[CryptoError] x", "backups": [], "archive": {}}},
        ],
    )
    def test_the_local_one_is_broken(self, pillar, facts):
        found = self.found(pillar, {"error": "x"}, **facts)
        assert found["backup.repository"]["status"] == "critical"
        assert "backup.last" not in found
        assert "backup.bucket" in found
