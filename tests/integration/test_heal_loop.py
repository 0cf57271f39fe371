"""A cure with real daemons: beacon, reactor, orch.heal, guard, start, history. Only systemd is a fake."""

import json
import os
import time

import pytest

import fanatico_lock
from tests.integration.conftest import PATIENCE
from tests.support import wait_until

HOST, UNIT = "etcd1", "etcd.service"


@pytest.fixture(autouse=True)
def well(systemd, home, master, minion, event_listener):
    """Start each test with a running unit, an empty guard, and without running jobs of the last test."""
    systemd.break_it(False)
    systemd.set("active")
    systemd.wait_judged()

    def thinking():
        events = event_listener.get_events([(master.id, "salt/run/*")], after_time=0.0)
        healings = [event for event in events if event.data.get("fun") == "runner.state.orchestrate"]
        ended = {event.data["jid"] for event in healings if event.tag.endswith("/ret")}
        return {event.data["jid"] for event in healings} - ended

    wait_until(lambda: not thinking(), PATIENCE, "healings of the last test to end")
    for name in ("guard.json", "history.jsonl"):
        (home / name).unlink(missing_ok=True)


@pytest.fixture
def history(home):
    """Return the recorded decisions, oldest first, without those about the last test's faults."""
    path = home / "history.jsonl"

    def entries():
        lines = path.read_text().splitlines() if path.exists() else []
        return [entry for entry in map(json.loads, lines) if entry.get("code") != "gone"]

    return entries


@pytest.fixture
def thoughts(master, event_listener):
    """Return the results of `fanatico.heal` since the start of the test, including those not recorded in the history."""
    begun = time.time()

    def found():
        events = event_listener.get_events([(master.id, "salt/run/*/ret")], after_time=begun)
        return [event.data["return"] for event in events if event.data.get("fun") == "runner.fanatico.heal"]

    return found


def decided(history, decision):
    return [entry for entry in history() if entry["decision"] == decision]


def test_a_stopped_unit_is_started_and_it_is_written_down(systemd, history, master, salt_run, event_listener):
    begun = time.time()
    systemd.set("inactive")
    (entry,) = wait_until(lambda: decided(history, "healed"), PATIENCE, "the unit to be healed")
    assert systemd.active == "active"
    assert (entry["host"], entry["what"], entry["why"]) == (HOST, UNIT, "stopped")
    wait_until(
        lambda: event_listener.get_events([(master.id, "fanatico/heal/healed")], after_time=begun),
        PATIENCE,
        "the event fanatico/heal/healed",
    )
    # A repeated event may have come after the cure.
    assert entry in salt_run.run("fanatico.history").data


def test_a_failed_unit_too(systemd, history):
    systemd.set("failed")
    (entry,) = wait_until(lambda: decided(history, "healed"), PATIENCE, "the unit to be healed")
    assert (entry["why"], entry["reason"]) == ("failed", "failed, started again")


def test_not_while_a_deploy_runs_but_right_after_it(systemd, history, home, thoughts):
    assert fanatico_lock.acquire(home, "deploy")[0], "this test is the deploy"
    try:
        systemd.set("inactive")
        (entry,) = wait_until(lambda: decided(history, "refused"), PATIENCE, "the refusal")
        assert entry["code"] == "deploy-running"
        refused = wait_until(lambda: thoughts()[1:], PATIENCE, "the repeated event to be decided, too")
        assert [thought["decision"] for thought in refused] == ["refused"] * len(refused)
        assert systemd.active == "inactive"
        assert len(history()) == 1, "the same refusal again is no news"
    finally:
        fanatico_lock.release(home)
    wait_until(lambda: decided(history, "healed"), PATIENCE, "the repeated event to be heard")


def test_three_times_and_no_more(systemd, history):
    for times in range(1, 4):
        systemd.set("failed")
        wait_until(lambda: len(decided(history, "healed")) == times, 60, f"healing number {times}")  # noqa: B023
        systemd.wait_judged()
    systemd.set("failed")
    (entry,) = wait_until(lambda: decided(history, "refused"), PATIENCE, "the refusal")
    assert entry["code"] == "attempts-spent"
    assert systemd.active == "failed"


def test_a_unit_that_cannot_start(systemd, history):
    systemd.break_it()
    systemd.set("failed")
    entry = wait_until(lambda: decided(history, "failed"), PATIENCE, "the failure")[0]
    assert entry["code"] == "not-gone"
    assert "panic: no disk" in entry["reason"], "the unit's last words"


def test_frozen(systemd, history, run):
    assert "fanatico.unfreeze" in run("fanatico.freeze", "new disks", "5m")
    systemd.set("inactive")
    (entry,) = wait_until(lambda: decided(history, "refused"), PATIENCE, "the refusal")
    assert entry["code"] == "frozen"
    run("fanatico.unfreeze")
    wait_until(lambda: decided(history, "healed"), PATIENCE, "the unit to be healed")


def test_what_runs_again_is_left_alone(run):
    told = run("fanatico.heal", HOST, UNIT, roles=["etcd"])
    assert (told["decision"], told["code"]) == ("refused", "gone")


def test_only_units_of_the_host(run):
    told = run("fanatico.heal", HOST, "ssh.service", roles=["etcd"])
    assert (told["decision"], told["code"]) == ("refused", "unknown-fault")


def test_a_deploy_is_kept_away_by_another(salt_run, run, home):
    assert fanatico_lock.acquire(home, "deploy")[0]
    try:
        ret = salt_run.run("fanatico.lock", "deploy", wait=0)
        assert ret.returncode != 0
        assert f"(pid {os.getpid()})" in ret.stdout + ret.stderr
        assert run("fanatico.locked")["pid"] == os.getpid()
    finally:
        fanatico_lock.release(home)
