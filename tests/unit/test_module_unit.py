"""Units are read from systemd with one call, and started with a proof."""

import subprocess

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_probe
from _modules import fanatico_unit
from tests.support.pillar import shipped

PLAN = {"nodes": {"rpc1": {"address": "10.0.1.10", "roles": ["rpc", "etcd"]}}}
SHOWN = """\
LoadState={load}
UnitFileState=enabled
ActiveState={active}
SubState={sub}
Result=success
MainPID={pid}
NRestarts=0
ControlGroup=/system.slice/etcd.service
{job}
"""


def shown(active="active", sub="running", pid=42, load="loaded", job=""):
    return SHOWN.format(active=active, sub=sub, pid=pid, load=load, job=job)


class Systemd:
    """Answer `systemctl show` from a list of states, repeat the last state, and record the other commands."""

    def __init__(self, *looks):
        self.looks = list(looks)
        self.told = []

    def __call__(self, command, **_):
        answer = ""
        if command[1] == "show":
            answer = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        elif command[0] == "systemctl":
            self.told.append(command[1])
        else:
            answer = "panic: no disk\n"
        return subprocess.CompletedProcess(command, 0, answer, "")


@pytest.fixture
def configure_loader_modules():
    return {
        fanatico_unit: {
            "__opts__": {"id": "rpc1"},
            "__pillar__": {"plan": PLAN, "heal": shipped("heal")},
        }
    }


@pytest.fixture
def systemd(monkeypatch):
    def install(*looks):
        fake = Systemd(*looks)
        monkeypatch.setattr(fanatico_probe.subprocess, "run", fake)
        monkeypatch.setattr(fanatico_unit.time, "sleep", lambda seconds: None)
        return fake

    return install


def test_expected_follows_the_plan():
    assert "fanatico-rpc.service" in fanatico_unit.expected()
    assert "etcd.service" in fanatico_unit.expected()


def test_expected_follows_the_settings(monkeypatch):
    assert "fanatico-rpc-ws.service" not in fanatico_unit.expected()
    monkeypatch.setitem(fanatico_unit.__pillar__, "rpc", {"ws": "proxy"})
    assert "fanatico-rpc-ws.service" in fanatico_unit.expected()


def test_expected_without_a_plan(monkeypatch):
    monkeypatch.setattr(fanatico_unit, "__pillar__", {})
    assert fanatico_unit.expected() == []
    assert fanatico_unit.states() == {}


def test_states_of_several(systemd):
    systemd(
        shown() + "\n" + shown("inactive", "dead", 0) + "\n" + "LoadState=not-found\nActiveState=inactive\n"
    )
    up, down, missing = fanatico_unit.states("a.service", "b.service", "c.service").values()
    assert (up["active"], up["pid"], up["cgroup"], up["down"]) == (
        "active",
        42,
        "/system.slice/etcd.service",
        False,
    )
    assert down["down"]
    assert (missing["load"], missing["pid"], missing["down"]) == ("not-found", 0, False)


@pytest.mark.parametrize(
    ("look", "down"),
    [
        (shown("inactive", "dead", 0), True),
        (shown("failed", "failed", 0), True),
        (shown("inactive", "dead", 0, job="Job=17 /org/freedesktop/systemd1/job/17"), False),
        (shown("inactive", "dead", 0, job="Job=0 /"), True),
        (shown("inactive", "dead", 0, load="masked"), False),
        (shown("activating", "auto-restart", 0), False),
        (shown("deactivating", "stop-sigterm"), False),
    ],
)
def test_down(systemd, look, down):
    systemd(look)
    assert fanatico_unit.states("etcd.service")["etcd.service"]["down"] is down


def test_start_a_stopped_unit(systemd):
    fake = systemd(shown("inactive", "dead", 0), shown("activating", "start", 43), shown(pid=43))
    outcome = fanatico_unit.start("etcd.service")
    assert (outcome["acted"], outcome["running"], outcome["detail"]) == (True, True, "")
    assert outcome["before"]["active"] == "inactive"
    assert fake.told == ["start"]


def test_start_a_failed_unit(systemd):
    fake = systemd(shown("failed", "failed", 0), shown(pid=43))
    assert fanatico_unit.start("etcd.service")["running"]
    assert fake.told == ["reset-failed", "start"]


def test_a_running_unit_is_not_touched(systemd):
    fake = systemd(shown())
    outcome = fanatico_unit.start("etcd.service")
    assert (outcome["acted"], outcome["running"]) == (False, True)
    assert fake.told == []


def test_a_unit_that_systemd_restarts_is_not_started(systemd):
    fake = systemd(
        shown("activating", "auto-restart", 0), shown("activating", "auto-restart", 0), shown(pid=44)
    )
    outcome = fanatico_unit.start("etcd.service")
    assert (outcome["acted"], outcome["running"]) == (False, True)
    assert fake.told == []


def test_systemd_gives_up_during_the_wait(systemd):
    fake = systemd(shown("activating", "auto-restart", 0), shown("failed", "failed", 0), shown(pid=45))
    assert fanatico_unit.start("etcd.service")["acted"]
    assert fake.told == ["reset-failed", "start"]


def test_a_changing_main_process_is_no_proof(systemd):
    """It runs at every probe, but each time as another process: a crash loop."""
    looks = [shown(pid=pid) for pid in range(50, 60)]
    systemd(shown("inactive", "dead", 0), *looks, shown("failed", "failed", 0))
    outcome = fanatico_unit.start("etcd.service")
    assert (outcome["acted"], outcome["running"]) == (True, False)


def test_it_dies_at_once(systemd):
    systemd(shown("inactive", "dead", 0), shown("failed", "failed", 0))
    outcome = fanatico_unit.start("etcd.service")
    assert not outcome["running"]
    assert "etcd.service is failed" in outcome["detail"]
    assert outcome["detail"].endswith("panic: no disk")


def test_it_is_never_ready(systemd):
    systemd(shown("inactive", "dead", 0), shown("activating", "start"))
    outcome = fanatico_unit.start("etcd.service", timeout=0)
    assert not outcome["running"]
    assert "is activating (start" in outcome["detail"]


def test_systemctl_fails(monkeypatch):
    monkeypatch.setattr(
        fanatico_probe.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 1, "", "Failed to connect to bus\n"),
    )
    with pytest.raises(
        CommandExecutionError, match=r"rpc1: `systemctl show .* failed: Failed to connect to bus"
    ):
        fanatico_unit.states("etcd.service")


@pytest.mark.parametrize(
    ("said", "down"), [("running\n", False), ("degraded\n", False), ("stopping\n", True)]
)
def test_shutting_down(monkeypatch, said, down):
    monkeypatch.setattr(
        fanatico_probe.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 1, said, ""),
    )
    assert fanatico_unit.shutting_down() is down
