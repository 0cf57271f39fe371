"""The part of a database host in a restore of the cluster: held, stopped, moved aside, put back."""

import json
import pathlib
import shutil
import types

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_restore_files as files
from _modules import fanatico_restore as module
from _modules import fanatico_restore_data as moves
from tests.support import program

program("salt/archive/files/restored_copy.py")  # which it imports, from its own folder
cluster = program("salt/archive/files/restore_cluster.py")
LABEL = "20261130-155731F"


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A database host in a directory, with programs that only note their calls."""
    found = types.SimpleNamespace(
        data=tmp_path / "17/main", unit="inactive", patroni="inactive", server=None, calls=[], home=tmp_path
    )
    (found.data / "global").mkdir(parents=True)
    (found.data / "pg_wal").mkdir()
    (found.data / "global/pg_control").write_text("before")
    monkeypatch.setattr(files, "HOLD", str(tmp_path / "hold"))
    monkeypatch.setattr(files, "PATRONI", str(tmp_path / "patroni.yml"))
    (tmp_path / "patroni.yml").touch()
    found.conditions = f"ConditionPathExists=!{tmp_path}/hold\n"
    monkeypatch.setattr(
        module.fanatico_probe, "run", lambda *argv, **_: types.SimpleNamespace(stdout=found.conditions)
    )
    monkeypatch.setattr(module, "_ENVIRONMENT", str(tmp_path / "restore.env"))
    monkeypatch.setattr(module, "_FOLDER", str(tmp_path))
    monkeypatch.setattr(module, "_systemctl", lambda *words, **_: found.calls.append(words))
    monkeypatch.setattr(module, "_as_postgres", lambda *argv, timeout: found.calls.append(argv) or "{}")
    for part in (module, moves):
        monkeypatch.setattr(part.fanatico_postmaster, "pid", lambda data: found.server)
    units = {"patroni.service": "patroni", module.UNIT: "unit"}
    salt = {
        "fanatico_postgres.wanted": lambda: {"data_dir": str(found.data), "bin_dir": "/bin"},
        "fanatico_postgres.wal_end": lambda: {"timeline": 3, "lsn": 9},
        "fanatico_unit.states": lambda unit: {unit: {"active": getattr(found, units[unit])}},
        "fanatico_restore.local_state": module.local_state,
        "fanatico_restore.forget": module.forget,
        "fanatico_restore.release": module.release,
    }
    for part in (module, moves):
        monkeypatch.setattr(part, "__opts__", {"id": "db1"}, raising=False)
        monkeypatch.setattr(part, "__salt__", salt, raising=False)
    return found


def held(host):
    module.hold()
    return host


def restored(host):
    """The host after its data was moved aside and other data was restored."""
    held(host)
    moves.set_aside()
    files.mark(host.data).touch()
    for folder in ("global", "pg_wal"):
        (host.data / folder).mkdir()
    (host.data / "global/pg_control").write_text("restored")
    return host


def content(host):
    return (host.data / "global/pg_control").read_text()


class TestStop:
    """Patroni and PostgreSQL."""

    def test_patroni_is_held_before_it_is_stopped(self, host):
        module.hold()
        assert pathlib.Path(files.HOLD).exists()
        assert host.calls[-1] == ("stop", "patroni")
        assert module.release() is True
        assert not pathlib.Path(files.HOLD).exists()

    def test_a_unit_that_would_start_all_the_same(self, host):
        host.conditions = ""
        with pytest.raises(CommandExecutionError, match="nothing was changed"):
            module.hold()
        assert not pathlib.Path(files.HOLD).exists()
        assert ("stop", "patroni") not in host.calls

    def test_postgresql_is_not_stopped_under_patroni(self, host):
        host.patroni = "active"
        with pytest.raises(CommandExecutionError, match="nothing was changed"):
            module.stop()
        assert host.calls == []

    def test_a_server_is_stopped_cleanly(self, host):
        host.server = 4711
        assert module.stop() == {"timeline": 3, "lsn": 9}
        assert {"stop", "fast"} <= set(host.calls[-1])

    def test_a_restore_that_runs_is_left_alone(self, host):
        host.unit, host.server = "activating", 4711
        assert module.stop() == {}
        assert host.calls == []


class TestStart:
    """The unit that restores."""

    def test_its_arguments(self, host):
        held(host)
        module.start(LABEL, "time", "1796054300.5", 4, look=True)
        written = (host.home / "restore.env").read_text()
        assert written == f"BACKUP={LABEL}\nKIND=time\nVALUE=1796054300.5\nTIMELINE=4\nLOOK=yes\n"
        assert host.calls[-1] == ("start", "--no-block", module.UNIT)

    @pytest.mark.parametrize(
        "arguments", [("x", "", ""), (LABEL, "time", "now"), (LABEL, "name", "a\nb"), (LABEL, "xid", "-1")]
    )
    def test_arguments_that_cannot_be(self, host, arguments):
        held(host)
        with pytest.raises(CommandExecutionError, match="Nothing was changed"):
            module.start(*arguments)
        assert not (host.home / "restore.env").exists()

    def test_not_while_patroni_may_start(self, host):
        with pytest.raises(CommandExecutionError, match="not held; nothing was changed"):
            module.start(LABEL)

    @pytest.mark.parametrize(("active", "report"), [("activating", None), ("active", {"state": "looking"})])
    def test_one_that_runs_is_not_started_again(self, host, active, report):
        held(host)
        host.unit, host.server = active, 4711
        if report:
            (host.home / "report.json").write_text(json.dumps(report))
        before = list(host.calls)
        module.start(LABEL)
        assert host.calls == before

    @pytest.mark.parametrize(
        ("active", "report", "server", "state"),
        [
            ("inactive", None, None, "none"),
            ("activating", None, None, "running"),
            ("failed", None, None, "failed"),
            ("active", {"state": "looking"}, 4711, "looking"),
            ("inactive", {"state": "looking"}, None, "failed"),  # its host was rebooted
            ("active", {"state": "stopped"}, None, "stopped"),
            ("failed", {"state": "failed"}, None, "failed"),
        ],
    )
    def test_states(self, host, active, report, server, state):
        host.unit, host.server = active, server
        if report:
            (host.home / "report.json").write_text(json.dumps(report))
        assert module.state()["state"] == state
        assert bool(module.state()["command"]) is (state == "looking")


class TestData:
    """What is moved, and what is never deleted."""

    def test_data_is_moved_aside_once(self, host):
        held(host)
        path = moves.set_aside()
        assert pathlib.Path(path, "global/pg_control").read_text() == "before"
        assert list(host.data.iterdir()) == []
        assert moves.set_aside() == path, "an interrupted run goes on"

    def test_not_under_a_running_server(self, host):
        host.server = 4711
        with pytest.raises(CommandExecutionError, match="nothing was changed"):
            moves.set_aside()
        with pytest.raises(CommandExecutionError, match="nothing was changed"):
            moves.rejoin() if held(host) else None
        assert content(host) == "before"

    def test_a_host_that_is_not_held_does_not_lose_its_data(self, host):
        assert "nothing" in moves.rejoin()
        assert content(host) == "before"

    def test_a_replica_keeps_its_data_and_clones(self, host):
        held(host)
        moves.rejoin()
        (path,) = module.local_state()["undo"]
        assert pathlib.Path(path, "global/pg_control").read_text() == "before"
        assert not pathlib.Path(files.HOLD).exists()
        assert host.calls[-1] == ("start", "--no-block", "patroni")

    def test_what_has_not_served_is_replaced_by_the_data_of_before(self, host):
        restored(host)
        assert moves.put_back()
        assert content(host) == "before"
        state = module.local_state()
        assert (state["restoring"], state["undo"], state["undone"]) == (False, [], [])

    def test_what_has_served_is_kept_and_its_history_is_known(self, host):
        restored(host)
        moves.served()
        (host.data / "pg_wal/00000005.history").write_text("5")
        assert moves.put_back()
        assert content(host) == "before"
        (kept,) = module.local_state()["undone"]
        assert pathlib.Path(kept, "global/pg_control").read_text() == "restored"
        assert (host.data / "pg_wal/00000005.history").read_text() == "5"
        assert moves.put_back() == "", "an interrupted run goes on"
        assert content(host) == "before"

    def test_a_replica_without_former_data_clones_them(self, host):
        held(host)
        assert moves.put_back(clone=True) == ""
        assert not (host.data / "global").exists()
        assert len(module.local_state()["undone"]) == 1

    @pytest.mark.parametrize("obstacle", ["a server", "not held"])
    def test_nothing_is_put_back_while_it_may_run(self, host, obstacle):
        restored(host)
        if obstacle == "a server":
            host.server = 4711
        else:
            module.release()
        with pytest.raises(CommandExecutionError, match="nothing was changed"):
            moves.put_back()
        assert content(host) == "restored"

    def test_what_was_interrupted_before_the_data_was_back_is_kept(self, host):
        """The mark goes first: what is left then counts as data that served."""
        restored(host)
        files.mark(host.data).unlink()
        assert moves.put_back()
        assert content(host) == "before"
        assert len(module.local_state()["undone"]) == 1

    def test_putting_back_needs_no_room(self, host, monkeypatch):
        restored(host)
        moves.served()
        monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=0))
        assert moves.put_back()
        assert content(host) == "before"

    def test_a_replica_without_room_is_emptied(self, host, monkeypatch):
        held(host)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=0))
        (host.data / "global/1").write_text("x" * 100_000)
        assert moves.put_back(clone=True) == ""
        assert list(host.data.iterdir()) == []

    def test_restored_data_is_wiped_and_no_other(self, host):
        assert moves.wipe() is False
        assert content(host) == "before"
        restored(host)
        assert moves.wipe() is True
        assert list(host.data.iterdir()) == []

    def test_nothing_is_discarded_before_it_serves(self, host):
        restored(host)
        with pytest.raises(CommandExecutionError, match="nothing was deleted"):
            moves.discard()
        assert len(module.local_state()["undo"]) == 1

    def test_accepted(self, host):
        restored(host)
        moves.served()
        module.release()
        assert moves.discard() > 0
        assert content(host) == "restored"
        assert module.local_state()["undo"] == []


class TestProgram:
    """restore_cluster.py, with programs that pretend to be pgBackRest and PostgreSQL."""

    @pytest.fixture
    def fake(self, tmp_path, monkeypatch):
        found = types.SimpleNamespace(calls=[], answers={}, runs=True)

        def run(*argv, timeout=None):
            words = [str(word) for word in argv]
            found.calls.append(words)
            if isinstance(answer := found.answers.get(words[-1], ""), Exception):
                raise answer
            return answer

        copies = cluster.restored_copy
        monkeypatch.setattr(copies, "run", run)
        monkeypatch.setattr(copies.time, "sleep", lambda seconds: None)
        monkeypatch.setattr(copies.Copy, "runs", lambda self: found.runs)
        monkeypatch.setattr(copies.Copy, "promoted", lambda self: True)
        data, socket = tmp_path / "main", tmp_path / "run"
        data.mkdir()
        socket.mkdir()
        found.answers[copies.HEARTBEAT] = "1796054290.5\n"
        found.answers["SELECT pg_is_in_recovery()"] = "f"
        found.cluster = cluster.Cluster(data, socket, tmp_path, 5497)
        return found

    def words(self, fake):
        return [words[-1] for words in fake.calls]

    def test_a_restore_ends_stopped_without_its_target(self, fake):
        report = cluster.restore(fake.cluster, LABEL, cluster.Target("xid", "7"), look=False)
        assert (report["state"], report["error"], report["reached"]) == ("stopped", "", 1796054290.5)
        assert fake.cluster.mark.exists()
        assert "ALTER SYSTEM RESET recovery_target_xid" in self.words(fake)
        assert self.words(fake)[-1] == "stop"

    def test_its_wal_is_archived_only_once_it_serves(self, fake):
        cluster.restore(fake.cluster, LABEL, cluster.Target(), look=False)
        (options,) = (words[-2] for words in fake.calls if words[-1] == "start")
        assert "archive_command='exit 126'" in options
        assert "listen_addresses=''" in options

    def test_a_person_can_only_read(self, fake):
        report = cluster.restore(fake.cluster, LABEL, cluster.Target(), look=True)
        assert report["state"] == "looking"
        (options,) = (words[-2] for words in fake.calls if words[-1] == "start")
        assert "default_transaction_read_only=on" in options
        assert "stop" not in self.words(fake)

    def test_data_that_it_did_not_restore_is_not_touched(self, fake):
        (fake.cluster.data / "PG_VERSION").write_text("17")
        report = cluster.restore(fake.cluster, LABEL, cluster.Target(), look=False)
        assert "has data. Nothing was changed" in report["error"]
        assert fake.calls == []

    def test_an_interrupted_one_begins_again(self, fake):
        fake.cluster.mark.touch()
        (fake.cluster.data / "PG_VERSION").write_text("17")
        assert cluster.restore(fake.cluster, LABEL, cluster.Target(), look=False)["state"] == "stopped"
        assert any("--delta" in words for words in fake.calls)

    def test_a_target_that_is_not_reached_fails(self, fake):
        fake.answers["start"] = cluster.CopyError("pg_ctl failed")
        fake.cluster.log.write_text("FATAL:  recovery ended before configured recovery target was reached\n")
        report = cluster.restore(fake.cluster, LABEL, cluster.Target("xid", "7"), look=False)
        assert report["state"] == "failed"
        assert "recovery ended before" in report["error"]

    def test_a_look_ends(self, fake):
        assert cluster.finish(fake.cluster)["state"] == "stopped"
        assert "start" not in self.words(fake)

    def test_a_look_ends_after_a_reboot(self, fake, monkeypatch):
        fake.runs = False
        monkeypatch.setattr(cluster.Cluster, "wait", lambda *_: None)
        assert cluster.finish(fake.cluster)["state"] == "stopped"
        assert "start" in self.words(fake)

    def test_former_data_is_promoted_on_its_own_timeline(self, fake, monkeypatch):
        fake.runs = False
        monkeypatch.setattr(cluster.Cluster, "wait", lambda *_: None)
        report = cluster.reopen(fake.cluster)
        assert report["state"] == "stopped"
        assert (fake.cluster.data / "standby.signal").exists()
        (options,) = (words[-2] for words in fake.calls if words[-1] == "start")
        assert "recovery_target_timeline=current" in options
        assert "archive-get" in options, "it looks into the repository for timelines"
        assert "SELECT pg_promote(true, 3600)" in self.words(fake)
