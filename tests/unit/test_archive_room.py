"""The primary's disk while archiving is stopped: the time left, the error, and room for a PostgreSQL that is down."""

import hashlib
import types

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_backup_checks as judge
from _modules import fanatico_archive_room as room

MIB = 1024**2


class TestSpace:
    """How long the disk of the primary lasts."""

    FACTS = {
        "in_recovery": False,
        "waiting": 60,
        "waiting_age": 3600,
        "waiting_recent": 10,
        "failed_age": 5,
        "segment": 16 * MIB,
        "free": 960 * MIB * 48,
    }

    def left(self, **facts):
        return judge.space({**self.FACTS, **facts}, 60, 86400, 14400)

    def test_the_rate_since_archiving_stopped(self):
        found = self.left()
        assert (found["status"], found["value"]) == ("ok", 48 * 3600)

    @pytest.mark.parametrize(
        ("hours", "status"), [(25, "ok"), (23, "degraded"), (5, "degraded"), (3, "critical"), (0, "critical")]
    )
    def test_its_limits(self, hours, status):
        assert self.left(free=960 * MIB * hours)["status"] == status

    def test_a_burst_of_the_last_minutes_counts(self):
        found = self.left(waiting_recent=60)
        assert found["value"] == 8 * 3600
        assert found["status"] == "degraded"

    @pytest.mark.parametrize(
        "facts",
        [{"waiting": 0, "waiting_age": None}, {"waiting_age": 50}, {"failed_age": None, "waiting_age": 200}],
    )
    def test_archiving_that_keeps_up(self, facts):
        found = self.left(free=0, **facts)
        assert (found["status"], found["value"]) == ("ok", None)

    def test_slow_archiving_without_an_error(self):
        assert self.left(failed_age=None, free=0)["status"] == "critical"

    def test_no_primary(self):
        assert self.left(in_recovery=True) is None
        assert judge.space({"error": "x"}, 60, 86400, 14400) is None


class TestReason:
    """pgBackRest's error on the primary."""

    REPOSITORIES = [{"index": 1, "host": "ops1", "name": "local"}, {"index": 2, "host": "ops1", "name": "s3"}]

    def test_repositories_have_names(self):
        text = "103\narchive-push command encountered error(s):\nrepo2: [HostConnectError] unable to connect"
        assert judge.reason(text, self.REPOSITORIES) == (
            "repository s3 of ops1: [HostConnectError] unable to connect"
        )

    def test_it_is_bounded_and_plain(self):
        assert judge.reason("", self.REPOSITORIES) == ""
        assert judge.reason(f"1\na\x1b[31m\x00b {'c' * 1000}", []) == f"a [31m b {'c' * 1000}"[:300]


def segment(place):
    return f"{1:08X}{0:08X}{place:08X}"


@pytest.fixture
def host(tmp_path):
    wal = tmp_path / "pg_wal"
    (wal / "archive_status").mkdir(parents=True)
    for place in range(1, 13):
        (wal / segment(place)).write_bytes(bytes([place]))
        (wal / "archive_status" / f"{segment(place)}.ready").touch()
    host = types.SimpleNamespace(
        data=tmp_path, wal=wal, sent=[], there=set(), free=0, redo=segment(11), refuses=False
    )

    def push(path):
        if host.refuses:
            raise CommandExecutionError("db1: pgbackrest archive-push failed with code 103")
        name = path.rpartition("/")[2]
        host.sent.append(name)
        host.there.add(f"{name}-{hashlib.sha1((wal / name).read_bytes()).hexdigest()}")

    host.push = push
    return host


@pytest.fixture
def configure_loader_modules(host):
    salt = {
        "fanatico_postgres.wanted": lambda: {"data_dir": str(host.data), "bin_dir": "/bin"},
        "fanatico_backup.push": lambda path: host.push(path),
        "fanatico_backup.indexes": lambda: [1, 2],
        "fanatico_backup.archived": lambda number: sorted(host.there),
    }
    return {room: {"__opts__": {"id": "db1"}, "__salt__": salt}}


class TestMakeRoom:
    """PostgreSQL cannot start: its disk is full of WAL that waits."""

    @pytest.fixture(autouse=True)
    def disk(self, host, monkeypatch):
        def control(*argv):
            text = f"Latest checkpoint's REDO WAL file:    {host.redo}\nBytes per WAL segment:    16777216\n"
            return types.SimpleNamespace(stdout=text, stderr="")

        monkeypatch.setattr(room.fanatico_probe, "run", control)
        monkeypatch.setattr(
            room.os, "statvfs", lambda path: types.SimpleNamespace(f_bavail=host.free, f_frsize=1)
        )

    def left(self, host):
        return sorted(path.name for path in host.wal.iterdir() if path.is_file())

    def test_the_oldest_are_sent_and_removed(self, host):
        done = room.make_room()
        assert done["removed"] == host.sent == [segment(place) for place in range(1, 9)]
        assert self.left(host) == [segment(place) for place in range(9, 13)]
        assert len(list((host.wal / "archive_status").iterdir())) == 4

    def test_what_a_start_needs_stays(self, host):
        host.redo = segment(3)
        assert room.make_room()["removed"] == [segment(1), segment(2)]
        host.redo = segment(3)
        with pytest.raises(CommandExecutionError, match="needs every segment"):
            room.make_room()

    def refused(self, host, match):
        before = self.left(host)
        with pytest.raises(CommandExecutionError, match=match):
            room.make_room()
        assert self.left(host) == before

    def test_a_repository_that_does_not_answer(self, host):
        host.refuses = True
        self.refused(host, "failed with code 103")

    def test_a_repository_that_has_another_copy(self, host):
        push = host.push

        def other(path):
            push(path)
            host.there = {f"{name[:24]}-{'0' * 40}" for name in host.there}

        host.push = other
        self.refused(host, "repository 1 lacks")

    def test_a_postgresql_that_runs(self, host, monkeypatch):
        monkeypatch.setattr(room.fanatico_postmaster, "pid", lambda data: 4711)
        self.refused(host, "PostgreSQL runs")
        assert host.sent == []

    def test_a_file_that_a_crash_has_left_is_no_postgresql(self, host):
        (host.data / "postmaster.pid").write_text("1\n")  # the process 1 is none
        assert room.make_room()["removed"]

    def test_a_disk_with_room(self, host):
        host.free = 33 * MIB
        self.refused(host, "there is room")
