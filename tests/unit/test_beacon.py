"""The beacon: one event when a unit goes down, none while systemd restarts it."""

import json
import socket
import subprocess
import sys

import pytest

from _beacons import fanatico as beacon
from tests.support import REPO

UNIT = "etcd.service"


def state(active="active", **more):
    told = {
        "load": "loaded",
        "enabled": "enabled",
        "active": active,
        "sub": "running" if active == "active" else "dead",
        "result": "success",
        "cgroup": f"/system.slice/{UNIT}",
        "pid": 42,
        "restarts": 0,
        "entered": 1000,
        "tried": True,
        "down": active in ("inactive", "failed"),
    }
    return {**told, **more}


class Host:
    """A host with a clock: `tick(state)` calls the beacon one second later."""

    def __init__(self, monkeypatch):
        self.now = 0
        self.units = {UNIT: state()}
        self.populated = True
        self.questions = 0
        self.stopping = False
        self.symptoms = {}
        self.holds = False
        self.looks = 0
        self.told = {}  # the states that the last probe got
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
        monkeypatch.setattr(beacon, "_memory", {})
        monkeypatch.setattr(beacon, "_symptoms", {"next": 0.0, "seen": {}, "sent": {}, "probed": False})
        monkeypatch.setattr(beacon, "_populated", lambda group: self.populated)
        monkeypatch.setattr(beacon.time, "monotonic", lambda: self.now)

    def states(self, *units):
        self.questions += 1
        return {unit: self.units[unit] for unit in units}

    def look(self, states):
        self.looks, self.told = self.looks + 1, states
        return dict(self.symptoms)

    def tick(self, config=(), seconds=1, **unit):
        if unit:
            self.units[UNIT] = state(**unit)
            self.populated = unit["active"] not in ("inactive", "failed")
        self.now += seconds
        return [event["why"] for event in beacon.beacon([*config, {"_beacon_name": "fanatico"}])]


@pytest.fixture
def configure_loader_modules(tmp_path):
    return {beacon: {"__salt__": {}, "__opts__": {"cachedir": str(tmp_path)}}}


@pytest.fixture
def host(monkeypatch):
    host = Host(monkeypatch)
    beacon.__salt__.update(
        {
            "fanatico_unit.expected": lambda: list(host.units),
            "fanatico_unit.states": host.states,
            "fanatico_unit.shutting_down": lambda: host.stopping,
            "fanatico_cure.symptoms": host.look,
            "fanatico_keepalived.holds_address": lambda: host.holds,
        }
    )
    return host


def test_all_is_well(host):
    assert [host.tick() for _ in range(300)] == [[]] * 300
    assert host.questions <= 61, "units that run cost systemd one question in five seconds"
    assert host.told == {UNIT: state()}, "the probe does not query them again"


@pytest.mark.parametrize(("active", "why"), [("inactive", "stopped"), ("failed", "failed")])
def test_it_goes_down(host, active, why):
    host.tick()
    assert host.tick(active=active) == [why], "at the next look, not at the next question to systemd"
    assert host.tick() == []


def test_it_is_started_and_fails_again_between_two_queries(host):
    host.tick()
    assert host.tick(active="inactive") == ["stopped"]
    assert host.tick(active="inactive", entered=2000, seconds=2) == [], "not more often than the gap"
    assert host.tick(active="inactive", entered=2000, seconds=3) == ["stopped"]
    assert host.tick(active="inactive", entered=2000, seconds=10) == []


def test_a_failed_start_is_still_down(host):
    """It never became active, so it is not reported as stopped again."""
    host.tick()
    assert host.tick(active="inactive") == ["stopped"]
    assert host.tick(active="failed", seconds=10) == []
    assert host.tick(active="failed", seconds=60) == ["still down"]


def test_the_event_contains_the_state(host):
    host.tick()
    host.units[UNIT] = state("failed", result="oom-kill", restarts=4)
    host.populated = False
    host.now += 1
    assert beacon.beacon([]) == [
        {
            "tag": UNIT,
            "what": UNIT,
            "why": "failed",
            "active": "failed",
            "sub": "dead",
            "result": "oom-kill",
            "restarts": 4,
        }
    ]


def test_systemd_restarts_it_by_itself(host):
    host.tick()
    assert host.tick(active="activating", sub="auto-restart") == []
    assert host.tick(active="activating", sub="start") == []
    assert host.tick(active="active") == []


def test_systemd_restarts_it_again_and_again(host):
    """A restart loop without a cure: it is reported, and repeated."""
    told = [
        why
        for second in range(150)
        for why in host.tick(active="activating", sub="auto-restart", restarts=second // 4)
    ]
    assert told == ["restarted 15 times in 60 s", "restarted 15 times in 60 s"]


def test_a_few_restarts_or_a_reset_counter_are_no_fault(host):
    assert host.tick(active="active", restarts=400) == [], "restarts before the first query do not count"
    assert [why for _ in range(70) for why in host.tick(active="active", restarts=404)] == []
    assert [why for _ in range(70) for why in host.tick(active="active", restarts=3)] == []


def test_a_restart_is_not_a_fault(host):
    host.tick()
    assert host.tick(active="deactivating") == []
    assert host.tick(active="inactive", down=False) == [], "stopped, and its start is queued"
    assert host.tick(active="active") == []


def test_systemd_gives_up_on_it(host):
    host.tick()
    host.tick(active="activating", sub="auto-restart")
    assert host.tick(active="failed", result="start-limit-hit") == ["failed"]


def test_it_stays_down_and_is_repeated(host):
    host.tick()
    assert host.tick(active="inactive") == ["stopped"]
    said = [host.tick() for _ in range(130)]
    assert [why for told in said for why in told] == ["still down", "still down"]


def test_it_flaps(host):
    host.tick()
    assert host.tick(active="failed") == ["failed"]
    assert host.tick(active="active") == []
    assert host.tick(active="failed") == [], "reported a moment ago"
    assert [host.tick() for _ in range(3)] == [[], [], ["failed"]], "but reported later"


def test_it_did_not_start_after_the_boot(host):
    said = [host.tick(active="inactive") for _ in range(35)]
    assert said.count(["did not come up"]) == 1
    assert all(not told for told in said[:29])


def test_a_unit_that_is_not_deployed_is_no_fault(host):
    for unit in (
        {"load": "not-found", "enabled": "", "down": False},
        {"enabled": "disabled"},
        {"tried": False},
    ):
        assert [host.tick(active="inactive", **unit) for _ in range(100)] == [[]] * 100
    assert host.questions <= 102


def test_a_masked_unit_is_no_fault(host):
    host.tick()
    assert [host.tick(active="inactive", load="masked", down=False) for _ in range(100)] == [[]] * 100


def test_a_shutdown_is_no_fault(host):
    host.tick()
    host.stopping = True
    assert host.tick(active="inactive") == []


def test_a_socket_has_no_control_group(host):
    host.populated = False
    host.units[UNIT] = state(sub="listening", cgroup="", pid=0)
    assert [host.tick() for _ in range(30)] == [[]] * 30
    assert host.questions <= 7
    host.units[UNIT] = state("inactive", cgroup="")
    assert ["stopped"] in [host.tick() for _ in range(5)]


def test_a_node_without_units_costs_nothing(host):
    host.units = {}
    assert host.tick() == []
    assert host.questions == 0


def test_settings_are_kept(host):
    host.tick()
    host.tick(active="inactive", config=[{"repeat": 10}])
    assert [host.tick(config=[{"repeat": 10}]) for _ in range(12)].count(["still down"]) == 1


def test_another_fault_is_reported_after_two_probes_and_repeated(host):
    host.symptoms = {"etcd-full": "alarm:NOSPACE"}
    said = [host.tick() for _ in range(140)]
    assert [turn for turn, told in enumerate(said) if told] == [5, 65, 125]
    assert said[5] == ["alarm:NOSPACE"]


def test_a_fault_that_flaps_is_not_reported(host):
    for turn in range(60):
        host.symptoms = {"patroni-hung": "no answer within 1 s"} if turn % 10 < 5 else {}
        assert host.tick() == []


def test_a_fault_that_returns_is_reported_without_delay(host):
    host.symptoms = {"etcd-full": "alarm:NOSPACE"}
    assert [told for told in (host.tick() for _ in range(8)) if told] == [["alarm:NOSPACE"]]
    host.symptoms = {}
    assert [told for told in (host.tick() for _ in range(6)) if told] == []
    host.symptoms = {"etcd-full": "alarm:NOSPACE"}
    assert [told for told in (host.tick() for _ in range(12)) if told] == [["alarm:NOSPACE"]]


def test_a_balancer_reports_taking_and_releasing_the_virtual_ip(host):
    host.units = {"keepalived.service": state()}
    told = []
    for holds in (False, False, True, True, False):
        host.holds, host.now = holds, host.now + 1
        told.append([event["tag"] for event in beacon.beacon([])])
    assert told == [[], [], ["address/taken"], [], ["address/left"]]


def test_the_watchdog_gets_its_timeout_and_then_keepalives(host, tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        said = []
        for _ in range(3):
            host.tick()
            said.append(systemd.recv(999).decode())
    assert said == ["WATCHDOG_USEC=60000000\nWATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]


def test_a_minion_without_systemd_sends_no_keepalive(host, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert host.tick() == []


def test_other_faults_are_probed_every_few_seconds(host):
    for _ in range(100):
        host.tick()
    assert host.looks == 20


@pytest.mark.parametrize("config", [[], [{"repeat": 5}], [{"_beacon_name": "fanatico"}, {"interval": 2}]])
def test_valid(config):
    assert beacon.validate(config)[0]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "needs a list"),
        (["repeat"], "needs a list"),
        ([{"reapet": 5}], "'reapet'"),
        ([{"repeat": 0}], "number of seconds for repeat"),
        ([{"repeat": True}], "number of seconds for repeat"),
        ([{"repeat": "5"}], "number of seconds for repeat"),
    ],
)
def test_not_valid(config, said):
    valid, reason = beacon.validate(config)
    assert not valid
    assert said in reason


def test_control_groups_are_read(tmp_path, monkeypatch):
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    real_open = open
    monkeypatch.setattr(
        "builtins.open",
        lambda path, **more: real_open(str(path).replace("/sys/fs/cgroup/x.service", str(tmp_path)), **more),
    )
    assert beacon._populated("/x.service")
    (tmp_path / "cgroup.events").write_text("populated 0\nfrozen 0\n")
    assert not beacon._populated("/x.service")
    assert not beacon._populated("/gone.service")


def test_libraries_of_jobs_are_loaded_once_without_grpc():
    program = (
        "import sys, _beacons.fanatico; print(sorted({'psycopg', 'websocket', 'grpc'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPO
    )
    assert done.stdout == "['psycopg', 'websocket']\n"


def reported(tmp_path):
    path = tmp_path / beacon.REPORTED
    return {what: one["why"] for what, one in json.loads(path.read_text()).items()} if path.exists() else {}


def test_a_reported_fault_is_saved_until_it_is_over(host, tmp_path):
    host.tick()
    host.symptoms = {"etcd-full": "alarm"}
    host.tick(active="failed")
    host.tick(seconds=5)
    assert reported(tmp_path) == {UNIT: "failed"}
    host.tick(seconds=5)
    assert reported(tmp_path) == {UNIT: "failed", "etcd-full": "alarm"}
    assert (tmp_path / beacon.REPORTED).stat().st_mode & 0o777 == 0o600
    host.symptoms = {}
    host.tick(seconds=10)
    assert reported(tmp_path) == {UNIT: "failed"}


def test_a_running_unit_is_dropped_after_the_gap(host, tmp_path, monkeypatch):
    clock = [1_000_000.0]
    monkeypatch.setattr(beacon.time, "time", lambda: clock[0])
    host.tick()
    host.tick(active="failed")
    host.tick(active="active")
    assert reported(tmp_path) == {UNIT: "failed"}, "one that systemd restarts again and again runs at times"
    clock[0] += 6
    host.tick(seconds=6)
    assert reported(tmp_path) == {}
