"""One change at a time, and no crash that leaves the lock behind."""

import json
import multiprocessing
import os
import subprocess
import sys
import time

import pytest

import fanatico_lock as lock


@pytest.fixture
def elsewhere(tmp_path):
    """Take the lock in another process: `elsewhere(purpose)` returns that process, which keeps it until killed."""
    code = (
        "import sys, time; sys.path.append('_runners/_utils'); import fanatico_lock as lock; "
        "print(lock.acquire(sys.argv[1], sys.argv[2], 'db1/patroni.service')[0], flush=True); time.sleep(60)"
    )
    processes = []

    def take(purpose):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), purpose], stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout.readline().strip() == "True"
        return process

    yield take
    for process in processes:
        process.kill()
        process.wait()


def test_acquire_read_release(tmp_path):
    assert lock.holder(tmp_path) is None
    taken, mine = lock.acquire(tmp_path, "deploy", jid="20260101")
    assert taken
    assert lock.holder(tmp_path) == mine
    assert (mine["purpose"], mine["pid"], mine["jid"]) == ("deploy", os.getpid(), "20260101")
    assert lock.release(tmp_path) == mine
    assert lock.holder(tmp_path) is None
    assert lock.release(tmp_path) is None


def test_the_directory_is_made(tmp_path):
    assert lock.acquire(tmp_path / "not" / "there", "deploy")[0]


def test_it_may_be_taken_again(tmp_path):
    assert lock.acquire(tmp_path, "deploy")[0]
    assert lock.acquire(tmp_path, "deploy")[0]


def test_taken_twice_it_is_free_after_two_releases(tmp_path):
    """An orchestration whose steps are orchestrations: each takes it and gives it back, and it stays that of the first."""
    lock.acquire(tmp_path, "evict")
    _, inner = lock.acquire(tmp_path, "deploy")
    assert (inner["purpose"], inner["depth"]) == ("evict", 1)
    assert lock.release(tmp_path) is None
    assert lock.holder(tmp_path)["purpose"] == "evict"
    assert lock.release(tmp_path)["purpose"] == "evict"
    assert lock.holder(tmp_path) is None


def test_a_failure_releases_it_as_a_whole(tmp_path):
    for _ in range(3):
        lock.acquire(tmp_path, "evict")
    assert lock.release(tmp_path, whole=True)["purpose"] == "evict"
    assert lock.holder(tmp_path) is None


def test_a_killed_holder_is_returned_once(tmp_path, elsewhere):
    other = elsewhere("deploy")
    assert lock.abandoned(tmp_path) is None, "it is at work"
    other.kill()
    other.wait()
    left = lock.abandoned(tmp_path)
    assert (left["purpose"], left["pid"]) == ("deploy", other.pid)
    assert lock.abandoned(tmp_path) is None
    lock.acquire(tmp_path, "deploy")
    lock.release(tmp_path)
    assert lock.abandoned(tmp_path) is None, "it was given back"


def test_whether_this_process_has_it(tmp_path, elsewhere):
    assert not lock.mine(tmp_path)
    lock.acquire(tmp_path, "heal", owner="a thread")
    assert not lock.mine(tmp_path)
    lock.release(tmp_path, owner="a thread")
    lock.acquire(tmp_path, "deploy")
    assert lock.mine(tmp_path)
    lock.release(tmp_path)
    elsewhere("deploy")
    assert not lock.mine(tmp_path)


def test_another_process_has_it(tmp_path, elsewhere):
    other = elsewhere("deploy")
    taken, holder = lock.acquire(tmp_path, "heal")
    assert not taken
    assert holder["pid"] == other.pid
    assert lock.describe(holder).startswith(f"deploy of db1/patroni.service (pid {other.pid})")
    assert lock.release(tmp_path) is None, "not ours to release"
    assert lock.release(tmp_path, force=True)["pid"] == other.pid


def test_a_killed_holder_frees_it_at_once(tmp_path, elsewhere):
    other = elsewhere("deploy")
    other.kill()
    # Not even waited for: a zombie holds nothing.
    deadline = time.monotonic() + 5
    while lock.holder(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert lock.acquire(tmp_path, "heal")[0]


@pytest.mark.parametrize("purpose", ["deploy", "rotate_certs", "drill"])
def test_waiting_for_a_cure_but_not_for_a_deploy(tmp_path, elsewhere, purpose):
    elsewhere("heal")
    begun = time.monotonic()
    assert not lock.acquire(tmp_path, "heal", wait=0.5, behind="heal")[0]
    assert 0.5 <= time.monotonic() - begun < 3
    lock.release(tmp_path, force=True)
    elsewhere(purpose)
    begun = time.monotonic()
    assert not lock.acquire(tmp_path, "heal", wait=5, behind="heal")[0]
    assert time.monotonic() - begun < 1


def test_waiting_ends_when_the_holder_does(tmp_path, elsewhere):
    other = elsewhere("heal")
    other.terminate()
    assert lock.acquire(tmp_path, "deploy", wait=5)[0]


@pytest.mark.parametrize(
    "change",
    [{"started": "0"}, {"pid": 2**22 + 1}, {"pid": "?"}],
    ids=["reused pid", "no process", "nonsense"],
)
def test_a_holder_that_is_not_the_one_that_took_it(tmp_path, change):
    """After a reboot another process has the old pid; the lock is free."""
    lock.acquire(tmp_path, "deploy")
    file = tmp_path / "lock.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pid": os.getppid(), **change}))
    assert lock.holder(tmp_path) is None
    assert lock.acquire(tmp_path, "heal")[0]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_broken_file_is_a_free_lock(tmp_path, content):
    (tmp_path / "lock.json").write_text(content)
    assert lock.holder(tmp_path) is None
    assert lock.acquire(tmp_path, "heal")[0]


def _race(directory, barrier, results):
    barrier.wait()
    taken, _ = lock.acquire(directory, "heal")
    results.put(taken)
    barrier.wait()  # no process ends before all have tried


def test_of_many_at_the_same_time_one_gets_it(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(8), context.Queue()
    racers = [context.Process(target=_race, args=(tmp_path, barrier, results)) for _ in range(8)]
    for racer in racers:
        racer.start()
    assert sorted(results.get(timeout=20) for _ in racers) == [False] * 7 + [True]
    for racer in racers:
        racer.join()


def test_two_owners_in_one_process_do_not_share_it(tmp_path):
    """The reactor heals in threads."""
    assert lock.acquire(tmp_path, "heal", owner="one")[0]
    assert not lock.acquire(tmp_path, "heal", owner="other")[0]
    assert lock.release(tmp_path, owner="other") is None
    assert lock.acquire(tmp_path, "heal", owner="one")[0], "again is fine"
    assert lock.release(tmp_path, owner="one", whole=True)["owner"] == "one"
    assert lock.acquire(tmp_path, "heal", owner="other")[0]
