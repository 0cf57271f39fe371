"""The backup of the Salt master: when a file is made, what the backup hosts take, and what health says."""

import base64
import hashlib
import json
import pathlib

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_master
import fanatico_master_archive as archive
import fanatico_master_copies as copies
import fanatico_master_state as states
import fanatico_sweep
from _modules import fanatico_master_backup as on_master
from _modules import fanatico_master_copy as on_host
from _runners import fanatico_master_backup as runner
from tests.support import pillar as pillars

SETTINGS = {**pillars.shipped("backup")["master"], "keep": 3}
WORD = "k9Wq3xZb7TnRv2L8mP5s"
HOST, NAME = "ops1", "master-20261130T030000Z.tar.gpg"
HOUR = 3600


@pytest.fixture
def configure_loader_modules(plan, tmp_path):
    backup = {"backup": {"master": {**SETTINGS, "path": str(tmp_path / HOST)}}}
    held = {"plan": plan, "master": {"tree": str(tmp_path / "tree"), "ca_dir": "/etc/fanatico/ca"}}
    return {
        runner: {"__opts__": {"id": "salt_master"}, "__context__": {}},
        on_host: {"__opts__": {"id": HOST}, "__pillar__": backup},
        on_master: {
            "__opts__": {"id": "salt"},
            "__pillar__": {**held, "backup": {"master": {**SETTINGS, "path": str(tmp_path / "salt")}}},
        },
    }


class World:
    """A master with a small state, and a backup host that can be silent or hostile."""

    def __init__(self, tmp_path, plan, monkeypatch):
        self.here, self.there, self.tree = tmp_path / "salt", tmp_path / HOST, tmp_path / "tree"
        self.silent, self.answers, self.asked = False, {}, []
        self.there.mkdir()
        for folder in ("pki", "pillar/secrets", "memory"):
            (self.tree / folder).mkdir(parents=True)
        (self.tree / "pki/master.pem").write_text("key")
        (self.tree / "memory/guard.json").write_text("{}")
        (self.tree / "pillar/plan.sls").write_text("plan")
        self.secrets = {"MASTER_BACKUP_PASSPHRASE": WORD}
        self.pillar = {
            "plan": plan,
            "master": {"tree": str(self.tree), "ca_dir": str(self.tree / "ca")},
            "minion": pillars.shipped("minion"),
            "backup": {"master": {**SETTINGS, "path": str(self.here)}},
            "secrets": self.secrets,
        }
        parts = (
            states.Part(str(self.tree / "pki"), "keys", states.REFUSE),
            states.Part(str(self.tree / "memory"), "memory", states.KEEP, lasting=False),
        )
        monkeypatch.setattr(states, "parts", lambda tree, ca_dir: parts)
        monkeypatch.setattr(fanatico_master, "plan", lambda opts: plan)
        monkeypatch.setattr(fanatico_master, "root", lambda opts: self.tree / "pillar")
        monkeypatch.setattr(fanatico_master, "compiled", lambda opts, node: (self.pillar, []))
        monkeypatch.setattr(fanatico_sweep, "fanout", self.fanout)
        monkeypatch.setattr(copies, "name", self.name)
        self.names = 0

    def name(self, now):
        self.names += 1
        return f"master-20261130T{self.names:06d}Z.tar.gpg"

    def fanout(self, opts, hosts, function, args=(), timeout=5):
        (host,) = hosts
        word = function.removeprefix("fanatico_master_copy.")
        self.asked.append(word)
        if self.silent:
            return {}
        if word in self.answers:
            return {host: self.answers[word]}
        try:
            return {host: getattr(on_host, word)(*args)}
        except CommandExecutionError as exc:
            return {host: f"ERROR: {exc}"}


@pytest.fixture
def world(tmp_path, plan, monkeypatch):
    return World(tmp_path, plan, monkeypatch)


def copied(world):
    return sorted(path.name for path in world.there.glob("master-*"))


class TestRun:
    """When a file is made, and who gets it."""

    def test_a_file_is_made_encrypted_and_copied(self, world):
        found = runner.master_backup()
        path = pathlib.Path(found["file"])
        assert (found["made"], found["copies"]) == (True, {HOST: ""})
        assert path.stat().st_mode & 0o777 == 0o600
        assert (world.there / path.name).read_bytes() == path.read_bytes()
        assert (world.there / path.name).stat().st_mode & 0o777 == 0o600
        assert hashlib.sha256(path.read_bytes()).hexdigest() == found["sha256"]
        held = archive.read(path, WORD)
        assert held.entries[f"{world.tree}/pki/master.pem"][-1] == b"key"
        assert held.manifest["plan"] == world.pillar["plan"]["name"]

    def test_without_a_change_none_is_made(self, world):
        first = runner.master_backup()
        second = runner.master_backup()
        assert (second["made"], second["file"]) == (False, first["file"])
        assert world.asked[-1] == "confirm"

    def test_what_only_the_night_takes_makes_none_after_a_change(self, world):
        runner.master_backup()
        world.asked.clear()
        (world.tree / "memory/guard.json").write_text("{1}")
        assert runner.master_changed()["made"] is False
        assert world.asked == [], "a host that has the file is not asked at each orchestration"
        assert runner.master_backup()["made"] is True

    def test_a_changed_key_makes_one_at_once(self, world):
        runner.master_backup()
        (world.tree / "pki/master.pem").write_text("another")
        assert runner.master_changed()["made"] is True
        assert len(copied(world)) == 2

    def test_a_damaged_file_is_made_again(self, world):
        found = runner.master_backup()
        pathlib.Path(found["file"]).write_bytes(b"x")
        assert runner.master_backup()["made"] is True

    def test_a_lost_copy_is_sent_again(self, world):
        runner.master_backup()
        (world.there / copied(world)[0]).unlink()
        assert runner.master_backup()["copies"] == {HOST: ""}
        assert len(copied(world)) == 1

    def test_a_large_file_is_sent_in_chunks(self, world, monkeypatch):
        monkeypatch.setattr(copies, "CHUNK", 100)
        runner.master_backup()
        assert world.asked.count("receive") > 3
        assert len(copied(world)) == 1

    def test_the_oldest_are_deleted_on_both_sides(self, world):
        (world.there / "somebody.else").write_text("stays")
        for n in range(5):
            (world.tree / "pki/master.pem").write_text(str(n))
            runner.master_changed()
        expected = [f"master-20261130T{n:06d}Z.tar.gpg" for n in (3, 4, 5)]
        assert copied(world) == sorted(path.name for path in world.here.glob("master-*")) == expected
        assert (world.there / "somebody.else").exists()

    def test_a_silent_host_is_an_error_and_gets_it_later(self, world):
        world.silent = True
        found = runner.master_backup()
        assert (found["made"], found["retcode"]) == (True, 1)
        assert HOST in found["copies"][HOST]
        assert runner.master_changed()["copies"][HOST]
        world.silent = False
        assert runner.master_changed()["copies"] == {HOST: ""}
        assert len(copied(world)) == 1

    @pytest.mark.parametrize("answer", ["receive", {"a": 1}, [], -1, True])
    def test_a_hostile_answer_counts_as_no_copy(self, world, answer):
        world.answers = {"confirm": False, "receive": answer}
        assert runner.master_backup()["copies"][HOST]
        world.answers = {"confirm": False, "complete": "yes"}
        assert runner.master_backup()["copies"][HOST]

    def test_without_a_passphrase_nothing_is_written(self, world):
        world.secrets.clear()
        with pytest.raises(fanatico_master.Refusal):
            runner.master_backup()
        assert "error" in runner.master_changed()
        assert list(world.here.glob("master-*")) == []

    def test_the_listing_says_who_has_what(self, world):
        found = runner.master_backup()
        name = pathlib.Path(found["file"]).name
        world.answers = {"listing": [{"name": name, "bytes": 1}, {"name": "../x", "bytes": 1}, "x", {}]}
        assert runner.master_backups() == {name: {"bytes": found["bytes"], "on": ["salt", HOST]}}

    def test_a_plan_without_a_backup_host(self, world, monkeypatch):
        alone = {**world.pillar["plan"], "nodes": {"salt": world.pillar["plan"]["nodes"]["salt"]}}
        monkeypatch.setattr(fanatico_master, "plan", lambda opts: alone)
        assert runner.master_backup()["copies"] == {}


class TestHost:
    """What a backup host takes."""

    @pytest.mark.parametrize(
        "name", ["../../etc/passwd", "master-1.tar.gpg", f"{NAME}/x", f"{NAME}\n", "", None, 7, [NAME]]
    )
    def test_another_name_is_refused(self, world, name):
        for call in (
            lambda: on_host.receive(name, 0, ["AAAA"]),
            lambda: on_host.complete(name, "0" * 64),
            lambda: on_host.confirm(name, "0" * 64),
        ):
            with pytest.raises(CommandExecutionError):
                call()
        assert list(world.there.iterdir()) == []

    @pytest.mark.parametrize(
        ("present", "offset", "size", "free", "refused"),
        [
            (0, 0, 1, 1024**3, False),
            (5, 5, copies.CHUNK, 1024**3, False),
            (5, 0, 1, 1024**3, False),
            (5, 4, 1, 1024**3, True),
            (5, "5", 1, 1024**3, True),
            (5, True, 1, 1024**3, True),
            (0, -1, 1, 1024**3, True),
            (0, 0, 0, 1024**3, True),
            (0, 0, copies.CHUNK + 1, 1024**3, True),
            (copies.LARGEST, copies.LARGEST, 1, 1024**3, True),
            (0, 0, 1, copies.SPARE, True),
        ],
    )
    def test_chunks(self, present, offset, size, free, refused):
        assert bool(copies.chunk_fault(present, offset, size, free)) is refused

    def test_a_partial_copy_does_not_count(self, world):
        on_host.receive(NAME, 0, [base64.b64encode(b"abc").decode()])
        assert on_host.listing() == []
        assert on_host.confirm(NAME, hashlib.sha256(b"abc").hexdigest()) is False
        with pytest.raises(CommandExecutionError):
            on_host.complete(NAME, hashlib.sha256(b"abcd").hexdigest())
        assert list(world.there.iterdir()) == []

    def test_a_new_copy_ends_an_interrupted_one(self, world):
        on_host.receive(NAME, 0, [base64.b64encode(b"abc").decode()])
        on_host.receive(copies.name(0), 0, [base64.b64encode(b"x").decode()])
        assert len(list(world.there.iterdir())) == 1

    @pytest.mark.parametrize("data", [["%%%"], [], ["AAAA", "AAAA"], "AAAA", 7, None, [7]])
    def test_what_is_no_base64_is_refused(self, world, data):
        with pytest.raises(CommandExecutionError):
            on_host.receive(NAME, 0, data)

    def test_its_health(self, world):
        assert on_host.checks()["backup.master"]["status"] == "degraded"
        runner.master_backup()
        assert on_host.checks()["backup.master"]["status"] == "ok"
        (world.there / copied(world)[0]).write_bytes(b"damaged")
        assert on_host.checks()["backup.master"]["status"] == "degraded"

    def test_an_old_confirmation(self):
        confirmed = {"file": NAME, "sha256": "0" * 64, "time": 0}
        for age, status in ((HOUR, "ok"), (SETTINGS["max_age"] + 1, "degraded")):
            assert copies.on_host(confirmed, True, HOST, SETTINGS, age)["status"] == status


class TestHealth:
    """The check on the master."""

    SOUND = {"file": NAME, "sha256": "0" * 64, "confirmed": 0, "error": "", "copies": {HOST: {"file": NAME}}}

    @pytest.mark.parametrize(
        ("state", "facts", "status"),
        [
            (SOUND, {}, "ok"),
            (SOUND, {"hosts": []}, "ok"),
            ({}, {}, "degraded"),
            ({"error": "no secret"}, {}, "degraded"),
            (SOUND, {"intact": False}, "degraded"),
            (SOUND, {"shown": False}, "degraded"),
            (SOUND, {"now": SETTINGS["max_age"] + 1}, "degraded"),
            ({**SOUND, "error": "disk full"}, {}, "degraded"),
            (SOUND, {"hosts": [HOST, "ops2"]}, "degraded"),
            ({**SOUND, "copies": {HOST: {"file": "an older one", "error": "no answer"}}}, {}, "degraded"),
        ],
    )
    def test_verdicts(self, state, facts, status):
        facts = {"intact": True, "shown": True, "hosts": [HOST], "now": HOUR, **facts}
        check = copies.on_master(
            state, facts["intact"], facts["shown"], facts["hosts"], SETTINGS, facts["now"]
        )
        assert check["status"] == status
        assert bool(check["hint"]) is (status != "ok")

    def test_it_reads_what_the_run_recorded(self, world, tmp_path, monkeypatch):
        secret, mark = world.tree / "pillar/secrets/master.sls", tmp_path / "shown"
        secret.write_text("encrypted")
        monkeypatch.setattr(on_master, "_SHOWN", str(mark))
        runner.master_backup()
        assert on_master.checks()["master.backup"]["status"] == "degraded", "nobody knows the passphrase"
        mark.write_text(hashlib.sha256(secret.read_bytes()).hexdigest() + "\n")
        assert on_master.checks()["master.backup"]["status"] == "ok"
        secret.write_text("another passphrase")
        assert on_master.checks()["master.backup"]["status"] == "degraded"

    def test_a_damaged_record_is_a_fault_and_no_exception(self, world):
        world.here.mkdir()
        (world.here / copies.STATE).write_text("{")
        assert on_master.checks()["master.backup"]["status"] == "degraded"
        assert runner.master_backup()["made"] is True
        assert json.loads((world.here / copies.STATE).read_text())["copies"][HOST]["error"] == ""
