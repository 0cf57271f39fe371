"""A process of pgBackRest that hangs on a primary."""

import subprocess

import pytest

from _modules import fanatico_archive_cure as cure
from tests.support.pillar import shipped


@pytest.fixture
def seen():
    """What fanatico_archive.probe reports of a primary whose WAL waits."""
    return {
        "facts": {"in_recovery": False, "waiting": 3, "archived_age": 500},
        "checks": {"archive.repository": {"status": "ok"}},
    }


@pytest.fixture(autouse=True)
def host(seen, monkeypatch):
    monkeypatch.setattr(cure, "__pillar__", {"backup": shipped("backup")}, raising=False)
    monkeypatch.setattr(cure, "__salt__", {"fanatico_archive.probe": lambda timeout: seen}, raising=False)
    monkeypatch.setattr(cure, "_processes", lambda: {4711: 300.0})


def test_it_is_found():
    assert "4711" in cure.stuck()


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("facts", {"in_recovery": True}),
        ("facts", {"waiting": 0}),
        ("facts", {"archived_age": 5}),  # a long queue moves
        ("facts", {"in_recovery": None, "error": "no answer"}),
        ("checks", {"archive.repository": {"status": "degraded"}}),  # nobody could send
        ("checks", {"archive.repository": {}}),
    ],
)
def test_what_is_no_hang(seen, part, change):
    seen[part].update(change)
    assert cure.stuck() == ""


def test_a_young_process_is_not_asked_about(monkeypatch):
    monkeypatch.setattr(cure, "_processes", lambda: {4711: 100.0})
    monkeypatch.setattr(cure, "__salt__", {})
    assert cure.stuck() == ""


def test_only_processes_that_send_wal_are_found_and_killed(monkeypatch, tmp_path):
    monkeypatch.undo()
    program = tmp_path / "pgbackrest"
    program.symlink_to("/bin/sleep")
    others = [[str(program), "60"], ["/bin/sh", "-c", "sleep 60; : archive-push"]]
    running = [subprocess.Popen(argv) for argv in others]
    shell = "exec -a /usr/bin/pgbackrest bash -c 'while :; do sleep 1; done' archive-push:async"
    sender = subprocess.Popen(["bash", "-c", shell])
    running.append(sender)
    try:
        for _ in range(1000):
            if sender.pid in cure._processes():
                break
        assert set(cure._processes()) & {one.pid for one in running} == {sender.pid}
        assert cure._processes()[sender.pid] < 60
    finally:
        for one in running:
            one.kill()
            one.wait()
