"""The restore drill of the backup host, with programs that pretend to be pgBackRest and PostgreSQL."""

import json
import os
import random

import pytest

from tests.support import program

copies = program("salt/archive/files/restored_copy.py")

NOW = 1_800_000_000.0
HOUR = 3600
WAL = [NOW - age for age in range(48 * HOUR, -1, -60)]


def backup(label, age, error=False):
    return {"label": label, "stop": NOW - age, "error": error}


class TestChoice:
    """The moment, and the backup before it."""

    BACKUPS = [backup("old", 40 * HOUR), backup("day", 20 * HOUR), backup("new", 2 * HOUR)]

    def test_a_random_moment_of_the_last_day_and_the_newest_backup_before_it(self):
        seen = set()
        for seed in range(200):
            label, target = copies.choose(self.BACKUPS, WAL, NOW, 120, (), random.Random(seed))
            assert NOW - 24 * HOUR <= target <= NOW - 120
            before = [one["label"] for one in self.BACKUPS if one["stop"] < target]
            assert label == before[-1]
            seen.add(label)
        assert seen == {"old", "day", "new"}

    def test_no_moment_while_the_databases_were_down(self):
        """There was no heartbeat: the copy would look as if it had lost rows."""
        down = [at for at in WAL if not NOW - 20 * HOUR < at < NOW - 3 * HOUR]
        for seed in range(100):
            _, target = copies.choose(self.BACKUPS, down, NOW, 120, (), random.Random(seed))
            assert not NOW - 20 * HOUR < target < NOW - 3 * HOUR - 60

    def test_the_end_of_the_wal_where_none_arrived_when_it_should(self):
        assert copies.choose(self.BACKUPS, [], NOW, 120) == ("new", None)

    def test_a_backup_with_errors_is_not_restored(self):
        backups = [backup("good", 20 * HOUR), backup("bad", 2 * HOUR, error=True)]
        assert {copies.choose(backups, WAL, NOW, 120)[0] for _ in range(50)} == {"good"}

    def test_the_end_of_the_wal_right_after_the_first_backup(self):
        assert copies.choose([backup("first", 60)], WAL, NOW, 120) == ("first", None)

    def test_after_a_restore_of_the_cluster_only_what_it_wrote_since(self):
        restores = [{"at": NOW - 3 * HOUR, "moment": NOW - 30 * HOUR, "before": 4}]
        for seed in range(50):
            label, target = copies.choose(self.BACKUPS, WAL, NOW, 120, restores, random.Random(seed))
            assert target > NOW - 3 * HOUR
            assert label == ("new" if target > NOW - 2 * HOUR else "old"), (
                "that of the branch that was given up is not used"
            )

    @pytest.mark.parametrize("backups", [[], [backup("bad", HOUR, error=True)]])
    def test_no_backup(self, backups):
        with pytest.raises(copies.CopyError, match="no backup"):
            copies.choose(backups, WAL, NOW, 120)


def test_each_repository_has_its_day():
    assert [copies.turn([1, 2], NOW + n * 24 * HOUR) for n in range(4)] in ([1, 2, 1, 2], [2, 1, 2, 1])
    assert copies.turn([1], NOW) == 1


class TestDrill:
    """The report."""

    @pytest.fixture
    def fake(self, tmp_path, monkeypatch):
        """A run of programs: their answers by name, and what was called."""
        calls = []
        answers = {
            "info": json.dumps(
                [{"backup": [{"label": "full", "timestamp": {"stop": NOW - 5 * HOUR}, "error": False}]}]
            ),
            "state": "ready   ",
        }

        def run(*argv, timeout=None):
            name = str(argv[0]).rpartition("/")[2]
            words = [str(word) for word in argv]
            calls.append(words)
            if "repo-ls" in words:
                segment = "17-1/0000000100000000/000000010000000000000001-" + "a" * 40
                return json.dumps(
                    {
                        f"{segment[:40]}{n:02X}{segment[42:]}": {"time": at}
                        for n, at in enumerate(WAL[2815:2826])
                    }
                )
            found = answers.get("info" if "info" in words else "restore" if "restore" in words else name, "")
            if words[-1] == "start" and not isinstance(found, Exception):
                state = "".join(f"{line}\n" for line in [os.getpid(), *"234567", answers["state"]])
                (tmp_path / "drill/data/postmaster.pid").write_text(state)
            if "SELECT extract" in words[-1]:
                found = answers["heartbeat"]
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(copies, "run", run)
        monkeypatch.setattr(copies.time, "time", lambda: NOW)
        monkeypatch.setattr(copies.Copy, "stop", lambda self: None)
        monkeypatch.setattr(copies, "RESTORES", tmp_path / "restores.json")
        monkeypatch.setattr(copies.random, "uniform", lambda first, last: NOW - HOUR)
        answers["heartbeat"] = str(NOW - HOUR - 12)
        self.calls, self.answers, self.folder = calls, answers, tmp_path / "drill"
        return self

    def drill(self):
        # `choose` has its own generator: the module `random`, whose function is replaced.
        return copies.drill(copies.Copy(self.folder, self.folder, 5499, 2), 120)

    def test_a_good_backup(self, fake):
        report = fake.drill()
        assert report["error"] == ""
        assert (report["backup"], report["target"], report["behind_seconds"]) == ("full", NOW - HOUR, 12.0)
        restore = next(words for words in fake.calls if words[-1] == "restore")
        assert all("--repo=2" in words for words in fake.calls if "pgbackrest" in words[0])
        assert {"--archive-mode=off", "--set=full", "--type=time", "--target-action=promote"} <= set(restore)
        assert any(word.startswith("--target=2027-01-15 07:00:00") for word in restore), restore
        assert any(words[0].endswith("pg_amcheck") for words in fake.calls)
        assert not fake.folder.exists()

    @pytest.mark.parametrize(("seconds", "word"), [(61, "61.0 s before"), (-1, "-1.0 s before")])
    def test_a_copy_that_lacks_rows_or_has_too_many(self, fake, seconds, word):
        fake.answers["heartbeat"] = str(NOW - HOUR - seconds)
        assert word in fake.drill()["error"]

    def test_no_heartbeat(self, fake):
        fake.answers["heartbeat"] = ""
        assert fake.drill()["error"] == "the copy has no heartbeat"

    @pytest.mark.parametrize("step", ["restore", "pg_amcheck", "pg_ctl"])
    def test_a_step_that_fails_leaves_nothing(self, fake, step):
        fake.answers[step] = copies.CopyError(f"{step} failed with code 1: why")
        assert "failed with code 1: why" in fake.drill()["error"]
        assert not fake.folder.exists()

    def test_a_directory_that_is_no_copy_is_kept(self, fake):
        """The setting may name a directory of somebody else."""
        (fake.folder / "data").mkdir(parents=True)
        for report in (fake.drill(), fake.clone(NOW - HOUR)):
            assert "exists and is no copy" in report["error"]
        assert (fake.folder / "data").exists()
        assert fake.calls == []

    def test_a_former_copy_is_replaced(self, fake):
        fake.clone(NOW - HOUR)
        (fake.folder / "former").touch()
        assert fake.clone(NOW - HOUR)["error"] == ""
        assert not (fake.folder / "former").exists()
        assert fake.drill()["error"] == ""
        assert list(fake.folder.parent.iterdir()) == []

    def clone(self, target):
        where = copies.Target("time", str(target))
        return copies.clone(copies.Copy(self.folder, self.folder, 5498, 2), "full", where)

    def test_a_server_that_ends_during_the_recovery_is_named(self, fake, monkeypatch):
        fake.answers["state"] = "standby"
        monkeypatch.setattr(copies.os, "kill", lambda pid, signal: 1 / 0 if signal else None)
        seen = iter([True, False])
        monkeypatch.setattr(copies.Copy, "runs", lambda self: next(seen, False))
        assert "ended while it waited" in fake.clone(NOW - HOUR)["error"]

    def test_max_connections_that_were_raised_after_the_backup_do_not_stop_it(self, fake):
        fake.clone(NOW - HOUR)
        (options,) = (words[-2] for words in fake.calls if words[-1] == "start")
        assert "-c hot_standby=off" in options
        assert "-c archive_mode=off" in options

    def test_a_clone_stays(self, fake):
        report = fake.clone(NOW - HOUR)
        assert (report["error"], report["behind_seconds"]) == ("", 12.0)
        assert fake.folder.exists()
        assert not any(words[0].endswith("pg_amcheck") for words in fake.calls), "a person waits"

    def test_a_clone_that_fails_leaves_nothing(self, fake):
        fake.answers["pg_ctl"] = copies.CopyError(
            "recovery ended before configured recovery target was reached"
        )
        assert "recovery ended" in fake.clone(NOW - HOUR)["error"]
        assert not fake.folder.exists()


def test_a_program_that_fails_is_named():
    with pytest.raises(copies.CopyError, match="sh failed with code 3: so it is"):
        copies.run("/bin/sh", "-c", "echo so it is >&2; exit 3")


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (copies.Target(), ["--type=default"]),
        (copies.Target(timeline="3"), ["--type=default", "--target-timeline=3"]),
        (copies.Target("xid", "7"), ["--type=xid", "--target=7", "--target-action=promote"]),
        (
            copies.Target("time", "1800000000.25", "2"),
            [
                "--type=time",
                "--target=2027-01-15 08:00:00.250000+00",
                "--target-action=promote",
                "--target-timeline=2",
            ],
        ),
    ],
)
def test_options_of_a_target(target, options):
    assert target.options() == options
