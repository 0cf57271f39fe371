"""Restores: which moments are in reach, and the clone for a person."""

import copy
import datetime
import types

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_backup_checks
import fanatico_restore as restore
from _modules import fanatico_backup_clone as clones
from _runners import fanatico_restore as runner
from tests.support import REPO
from tests.support import pillar as pillars

NOW = 1_800_000_000
HOUR, GIB = 3600, 1024**3
NEWEST = NOW - 40
FULL = "20261130-155731F"


def backup(label, age, error=False):
    return {"label": label, "type": "full", "stop": NOW - age, "size": GIB, "error": error}


def reach(*backups, **facts):
    found = list(backups) or [backup("old", 50 * HOUR), backup("new", 5 * HOUR)]
    return {"backups": found, "newest": NEWEST, "free": 10 * GIB, "drill": None, "restores": [], **facts}


def at(age):
    return restore.text(NOW - age)


class TestPlan:
    """What a restore to a moment would do."""

    def test_the_newest_backup_before_the_moment(self):
        assert restore.plan(at(6 * HOUR), reach(), NOW)["backup"] == "old"
        assert restore.plan(at(4 * HOUR), reach(), NOW)["backup"] == "new"

    def test_the_latest(self):
        found = restore.plan("latest", reach(), NOW)
        assert (found["backup"], found["moment"], found["target"]) == ("new", None, "latest")
        assert found["latest"] == restore.text(NEWEST - restore.HEARTBEAT)

    def test_any_zone(self):
        moment = NOW - 4 * HOUR
        west = datetime.timezone(datetime.timedelta(hours=-5))
        typed = datetime.datetime.fromtimestamp(moment, west).isoformat(sep=" ")
        assert restore.plan(typed, reach(), NOW)["moment"] == moment

    @pytest.mark.parametrize(
        ("age", "word", "nearest"),
        [
            (60 * HOUR, "before the end of the oldest backup", 50 * HOUR - 1),
            (10, "after the last WAL", 40 + restore.HEARTBEAT),
        ],
    )
    def test_out_of_reach_names_the_nearest(self, age, word, nearest):
        with pytest.raises(restore.Refused, match=word) as raised:
            restore.plan(at(age), reach(), NOW)
        assert f"target='{at(nearest)}'" in str(raised.value)

    @pytest.mark.parametrize(
        ("target", "word"),
        [
            ("yesterday", "is no target"),
            ("2026-11-28 12:00:00", "has no time zone"),
            ("2099-01-01 00:00:00+00", "in the future"),
            (None, "is no target"),
            ("", "is no target"),
            ("xid:seven", "is no xid"),
            ("lsn:0", "is no lsn"),
            ("name:a b", "is no name"),
        ],
    )
    def test_what_is_no_moment(self, target, word):
        with pytest.raises(restore.Refused, match=word):
            restore.plan(target, reach(), NOW)

    def test_no_backup(self):
        with pytest.raises(restore.Refused, match="no backup yet"):
            restore.plan("latest", reach(backup("bad", HOUR, error=True)), NOW)

    def test_no_room(self):
        with pytest.raises(restore.Refused, match=r"needs 1.2 GiB, and 1.0 GiB are free"):
            restore.plan("latest", reach(free=GIB), NOW)

    def test_the_estimate_is_what_the_last_drill_measured(self):
        drill = {"error": "", "bytes": GIB, "restore_seconds": 8.0, "recovery_seconds": 2.0}
        assert restore.plan("latest", reach(drill=drill), NOW)["seconds"] == 15
        assert restore.plan("latest", reach(drill={"error": "x"}), NOW)["seconds"] == 56

    def test_the_time_of_the_last_wal(self):
        name = "17-1/0000000100000000/000000010000000000000001-" + "a" * 40
        files = {f"{name}.zst": {"time": 5}, "17-1/00000002.history": {"time": 9}, name: {"time": 7}}
        assert fanatico_backup_checks.newest(files) == 7
        assert fanatico_backup_checks.newest({}) is None


class TestOtherTargets:
    """A transaction, a position in the WAL, a name."""

    BACKUPS = ({**backup("old", 50 * HOUR), "lsn": "0/5000028"}, {**backup("new", 5 * HOUR), "lsn": "1/0"})

    @pytest.mark.parametrize(
        ("target", "label"),
        [("lsn:0/6000000", "old"), ("lsn:1/1", "new"), ("xid:99", "old"), ("name:before-migration", "old")],
    )
    def test_the_backup(self, target, label):
        found = restore.plan(target, reach(*self.BACKUPS), NOW)
        assert (found["backup"], found["target"]) == (label, target)

    def test_a_position_before_every_backup(self):
        with pytest.raises(restore.Refused, match="no backup ends before"):
            restore.plan("lsn:0/5", reach(*self.BACKUPS), NOW)


class TestHistory:
    """After a restore of the cluster, a moment belongs to one of two branches."""

    # At -2 h the cluster was restored to what it was at -10 h; a second restore, at -1 h, undid that.
    RESTORES = (
        {"at": NOW - 2 * HOUR, "moment": NOW - 10 * HOUR, "before": 3},
        {"at": NOW - HOUR, "moment": NOW - 2 * HOUR - 60, "before": 5},
    )

    @pytest.mark.parametrize(
        ("age", "timeline", "written"),
        [
            (12, 3, [(0, 12)]),  # before both: on the timeline of that time
            (5, 3, [(0, 5)]),  # on the branch that the first restore gave up
            (1.5, 5, [(2, 1.5), (0, 10)]),  # restored, on the branch that the second gave up
            (0, 0, [(1, 0), (0, 2 + 1 / 60)]),  # now
        ],
    )
    def test_where_a_moment_is(self, age, timeline, written):
        found, periods = restore.history(self.RESTORES, NOW - age * HOUR)
        assert found == timeline
        ages = [
            (begin and round((NOW - begin) / HOUR, 3), round((NOW - end) / HOUR, 3)) for begin, end in periods
        ]
        assert ages == [(begin, round(end, 3)) for begin, end in written]

    def test_a_backup_of_the_branch_that_was_given_up_is_not_used(self):
        backups = [backup("first", 20 * HOUR), backup("given up", 5 * HOUR), backup("since", HOUR / 2)]
        seen = reach(*backups, restores=self.RESTORES[:1])
        assert restore.plan(at(HOUR), seen, NOW)["backup"] == "first"
        assert restore.plan(at(3 * HOUR), seen, NOW)["backup"] == "given up", (
            "the branch itself can be restored"
        )
        assert restore.plan(at(3 * HOUR), seen, NOW)["timeline"] == 3
        assert restore.plan("latest", seen, NOW)["backup"] == "since"


def test_the_heartbeat_is_as_frequent_as_a_restore_relies_on():
    timer = (REPO / "salt/postgresql/files/heartbeat.timer").read_text()
    assert f"OnCalendar=*:*:0/{restore.HEARTBEAT}\n" in timer


class TestRunner:
    """The operator's commands."""

    @pytest.fixture
    def host(self, plan, monkeypatch, tmp_path):
        plan = copy.deepcopy(plan)
        host = types.SimpleNamespace(asked=[], states=["running", "ready"], answers={})
        host.answers = {
            "fanatico_backup.repositories": {"local": 1},
            "fanatico_backup.reach": reach(),
            "fanatico_backup.clone": {"unit": "fanatico-clone.service"},
            "fanatico_backup.clone_drop": True,
        }

        def fanout(opts, ids, function, args, timeout):
            host.asked.append((ids[0], function, *args))
            if function == "fanatico_backup.clone_state":
                state = host.states.pop(0)
                report = {"seconds": 3.0, "error": "why" if state == "failed" else ""}
                return {ids[0]: {"state": state, "report": report, "command": "psql"}}
            answer = host.answers[function]
            return {} if answer is None else {ids[0]: answer}

        monkeypatch.setattr(runner, "__opts__", {"fanatico_home": str(tmp_path)}, raising=False)
        monkeypatch.setattr(runner.fanatico_sweep, "fanout", fanout)
        monkeypatch.setattr(runner.fanatico_master, "plan", lambda opts: plan)
        monkeypatch.setattr(runner.time, "time", lambda: NOW)
        monkeypatch.setattr(runner.fanatico_wait.time, "sleep", lambda seconds: None)
        host.plan = plan
        return host

    def test_a_clone(self, host):
        made = runner.clone(at(6 * HOUR))
        assert host.asked[2] == (
            *("ops1", "fanatico_backup.clone", "old", "time", repr(float(NOW - 6 * HOUR)), 0, "local"),
        )
        assert made == {
            "host": "ops1",
            "repository": "local",
            "target": at(6 * HOUR),
            "backup": "old",
            "seconds": 3.0,
            "command": "psql",
        }

    def test_a_clone_that_fails(self, host):
        host.states = ["failed"]
        with pytest.raises(CommandExecutionError, match="ops1: the clone failed: why"):
            runner.clone()

    @pytest.mark.parametrize("answer", [None, "ERROR: ops1: there is a clone already"])
    def test_a_host_that_refuses_or_is_silent(self, host, answer):
        host.answers["fanatico_backup.clone"] = answer
        with pytest.raises(CommandExecutionError, match="ops1: (there is a clone already|no answer)"):
            runner.clone()

    def test_nothing_is_asked_for_a_moment_out_of_reach(self, host):
        with pytest.raises(CommandExecutionError, match="Nothing was changed"):
            runner.clone(at(60 * HOUR))
        assert [call[1:] for call in host.asked] == [
            ("fanatico_backup.repositories",),
            ("fanatico_backup.reach", "local"),
        ]

    def test_a_host_without_the_role(self, host):
        with pytest.raises(CommandExecutionError, match="no node of the plan with the role backup"):
            runner.restore_plan(host="db1")

    def test_a_plan_without_a_backup_host(self, host):
        del host.plan["nodes"]["ops1"]
        with pytest.raises(CommandExecutionError, match="no host with the role backup"):
            runner.restore_plan()

    def test_a_clone_is_dropped(self, host):
        assert runner.clone_drop() == {"host": "ops1", "dropped": True}


class TestModule:
    """The part of the backup host."""

    @pytest.fixture
    def node(self, plan, tmp_path, monkeypatch):
        node = types.SimpleNamespace(active="inactive", done=[], directory=tmp_path / "clone")
        settings = {**pillars.shipped("backup"), "clone_directory": str(node.directory)}
        salt = {
            "fanatico_unit.states": lambda unit: {unit: {"active": node.active}},
            "fanatico_backup.info": lambda **_: {
                "backups": [backup(FULL, HOUR)],
                "archive": {"max": "0000000A" + "0" * 16},
            },
            "fanatico_backup.index": {"local": 1, "s3": 2}.get,
            "fanatico_backup.files": lambda folder, repository: {},
            "fanatico_backup.last_drill": lambda: None,
        }
        dunders = {
            "__opts__": {"id": "ops1"},
            "__pillar__": {"plan": plan, "backup": settings},
            "__salt__": salt,
        }
        for name, value in dunders.items():
            monkeypatch.setattr(clones, name, value, raising=False)
        monkeypatch.setattr(clones, "_ARGUMENTS", str(tmp_path / "run" / "arguments"))
        monkeypatch.setattr(clones, "_REPORT", str(tmp_path / "clone.json"))
        monkeypatch.setattr(clones, "_RESTORES", str(tmp_path / "restores.json"))
        monkeypatch.setattr(clones, "_KEEP", str(tmp_path / "expire.env"))
        monkeypatch.setattr(clones, "_systemctl", lambda *words: node.done.append(words))
        return node

    def test_a_clone_starts(self, node, tmp_path):
        assert clones.clone(FULL, "time", str(NOW - 60.5)) == {"unit": clones.UNIT}
        written = f"BACKUP={FULL}\nKIND=time\nVALUE={NOW - 60.5}\nTIMELINE=\nREPOSITORY=1\n"
        assert (tmp_path / "run/arguments").read_text() == written
        assert node.done == [("start", "--no-block", clones.UNIT)]

    def test_the_end_of_the_wal(self, node, tmp_path):
        clones.clone(FULL)
        assert "KIND=\nVALUE=\nTIMELINE=\n" in (tmp_path / "run/arguments").read_text()

    @pytest.mark.parametrize("label", ["other", "full\nX=1"])
    def test_an_unknown_backup(self, node, label):
        with pytest.raises(CommandExecutionError, match="there is no backup"):
            clones.clone(label)
        assert node.done == []

    @pytest.mark.parametrize(
        ("kind", "value"), [("xid", "7\nX=1"), ("other", "7"), ("time", "now"), ("name", "-a")]
    )
    def test_a_target_that_is_none(self, node, kind, value):
        with pytest.raises(CommandExecutionError, match="is no target. Nothing was changed"):
            clones.clone(FULL, kind, value)
        assert node.done == []

    def test_restores_of_the_cluster_are_remembered_once(self, node):
        for _ in range(2):
            assert clones.record_restore(NOW, NOW - HOUR, 3) == 1
        assert clones.record_restore(NOW + 5, NOW - HOUR, 4) == 2
        assert clones.reach()["restores"][0] == {"at": NOW, "moment": NOW - HOUR, "before": 3}

    def test_backups_are_kept_while_a_restore_is_open(self, node, tmp_path):
        assert clones.keep_all(True) is True
        assert (tmp_path / "expire.env").read_text() == "EXPIRE=--no-expire-auto\n"
        assert clones.keep_all(False) is False
        assert not (tmp_path / "expire.env").exists()
        unit = (REPO / "salt/backup/files/backup.service.jinja").read_text()
        assert "EnvironmentFile=-/var/lib/fanatico-backup/expire.env\n" in unit
        assert " $EXPIRE backup\n" in unit

    def test_backups_are_counted(self, node, tmp_path):
        clones.__pillar__["backup"]["path"] = str(tmp_path)
        assert clones.count() == 0
        (tmp_path / "backup").mkdir()
        assert clones.count() == 1

    def test_one_at_a_time(self, node):
        node.directory.mkdir()
        with pytest.raises(CommandExecutionError, match="there is a clone already"):
            clones.clone(FULL)

    def test_states(self, node, tmp_path):
        assert clones.clone_state()["state"] == "none"
        node.active = "activating"
        assert clones.clone_state()["state"] == "running"
        node.active = "failed"
        (tmp_path / "clone.json").write_text('{"error": "why"}')
        assert clones.clone_state()["state"] == "failed"
        node.active = "active"
        (tmp_path / "clone.json").write_text('{"error": ""}')
        assert str(node.directory) in clones.clone_state()["command"]

    def test_a_clone_is_deleted(self, node):
        assert clones.clone_drop() is False
        node.directory.mkdir()
        node.directory.with_name("clone.copy").touch()
        assert clones.clone_drop() is True
        assert not node.directory.exists()
        assert node.done[-1] == ("stop", clones.UNIT)

    def test_a_directory_that_is_no_clone_is_kept(self, node):
        """The setting may name a directory of somebody else."""
        node.directory.mkdir()
        with pytest.raises(CommandExecutionError, match="is no clone. Nothing was changed"):
            clones.clone_drop()
        assert node.directory.exists()
        assert node.done == []

    def test_reach(self, node):
        found = clones.reach()
        assert (found["newest"], found["drill"]) == (None, None)
        assert found["free"] > 0
        assert found["timeline"] == 10
