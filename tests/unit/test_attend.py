"""A step that waits for hosts ends as soon as the master or one of them is down."""

import os
import signal
import socket
import threading
import time

import pytest

import fanatico_attend as attend

HOSTS = {"db1": "10.0.2.10", "db2": "10.0.2.11"}


class World:
    """What can be seen from the master."""

    def __init__(self):
        self.connected, self.answered, self.master = set(HOSTS.values()), set(HOSTS.values()), "1/2"

    def watch(self):
        return attend.Watch(HOSTS, lambda: self.connected, lambda: self.answered, lambda: self.master)


@pytest.fixture
def world():
    return World()


def test_all_are_up(world):
    watch = world.watch()
    assert [watch.check(now) for now in range(0, 60, 2)] == [""] * 30


def test_a_minion_that_stops_is_named_after_ten_seconds(world):
    watch = world.watch()
    watch.check(0)
    world.connected = {HOSTS["db1"]}
    assert [bool(watch.check(now)) for now in (2, 9, 11)] == [False, False, True]
    assert watch.check(12).startswith("db2 is no longer connected")


def test_a_minion_that_restarts_is_not_named(world):
    watch = world.watch()
    for now in range(0, 60, 6):
        world.connected = set() if now % 12 else set(HOSTS.values())
        assert watch.check(now) == ""


def test_a_host_that_loses_its_power_answers_no_ping(world):
    """Its connection stays, for all that the master's kernel knows."""
    watch = world.watch()
    watch.check(0)
    world.answered = {HOSTS["db1"]}
    assert watch.check(11).startswith("db2 no longer answers pings")


def test_a_sign_that_was_never_seen_does_not_count(world):
    """A network that drops pings; a minion behind another address."""
    world.connected = world.answered = set()
    watch = world.watch()
    assert watch.check(0) == watch.check(100) == ""


@pytest.mark.parametrize("after", ["", "3/4"])
def test_a_master_that_was_restarted_has_lost_the_answers(world, after):
    watch = world.watch()
    world.master = after
    assert "systemctl status salt-master" in watch.check(1)


def test_without_a_pid_of_the_master_only_hosts_count(world):
    world.master = ""
    watch = world.watch()
    assert watch.check(1) == ""


def test_a_call_that_waits_for_a_host_that_is_down_is_ended(tmp_path, monkeypatch):
    """Whatever catches exceptions on the way."""
    monkeypatch.setattr(attend, "_PERIOD", 0.05)
    monkeypatch.setattr(attend, "connected", lambda: set())
    (tmp_path / "pid").write_text(str(os.getpid()))
    ended = threading.Event()

    def call():
        (tmp_path / "pid").unlink()
        while not ended.is_set():
            try:
                time.sleep(5)
            except Exception:  # noqa: BLE001 as Salt's client does
                continue

    answer, reason = attend.attended(call, HOSTS, tmp_path / "pid")
    assert (answer, "Salt master" in reason) == (None, True)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_call_that_ends_is_left_alone(tmp_path):
    assert attend.attended(lambda: 7, HOSTS, tmp_path / "none") == (7, "")
    found = []
    thread = threading.Thread(target=lambda: found.append(attend.attended(lambda: 8, HOSTS, "")))
    thread.start()
    thread.join()
    assert found == [(8, "")], "the reactor's threads cannot be interrupted"


def test_the_connections_of_a_port_are_read_from_the_kernel():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert attend.connected(port) == set()
        with socket.create_connection(("127.0.0.1", port)):
            assert attend.connected(port) == {"127.0.0.1"}


def test_the_process_of_a_pid_file(tmp_path):
    path = tmp_path / "pid"
    assert attend.pid_of_master(path) == ""
    path.write_text(f"{os.getpid()}\n")
    assert attend.pid_of_master(path).startswith(f"{os.getpid()}/")
    path.write_text("nonsense")
    assert attend.pid_of_master(path) == ""
