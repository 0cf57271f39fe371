"""What was done is read back, newest first."""

import stat

import pytest

from _runners import fanatico_history as runner
from _utils import fanatico_history as history
from tests.support import utils


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log" / "history.jsonl"


@pytest.fixture
def configure_loader_modules(path):
    return {
        runner: {"__opts__": {"fanatico_history": str(path)}, "__utils__": utils("fanatico_history")},
    }


def write(path, *hosts):
    for host in hosts:
        history.append(path, "heal", "healed", host=host, unit="etcd.service", reason="it stopped", took=1.24)


def test_newest_first(path):
    write(path, "etcd1", "etcd2", "etcd3")
    assert [entry["host"] for entry in history.newest(path, 2)] == ["etcd3", "etcd2"]
    assert [entry["host"] for entry in history.newest(path, 9, host="etcd1")] == ["etcd1"]


def test_a_line_cut_off_is_passed_over(path):
    write(path, "etcd1")
    with open(path, "a") as handle:
        handle.write('{"time": "2026-01-')
    assert [entry["host"] for entry in history.newest(path, 5)] == ["etcd1"]


def test_it_is_not_for_everyone(path):
    write(path, "etcd1")
    assert not path.stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP)


def test_lines_for_people_and_data_for_programs(path, monkeypatch):
    assert "Nothing yet" in runner.history()
    write(path, "etcd1", "db1")
    newest, oldest = runner.history()
    assert newest.endswith("  heal   healed   db1/etcd.service: it stopped (1.2 s)")
    assert "etcd1/etcd.service" in oldest
    assert runner.history(limit="1") == [newest]
    monkeypatch.setitem(runner.__opts__, "output", "json")
    assert [entry["host"] for entry in runner.history(host="db1")] == ["db1"]
