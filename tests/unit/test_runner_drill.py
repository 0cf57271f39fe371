"""`salt-run fanatico.drill`: what it refuses, the order of its steps, and what it returns."""

import types

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_drill
import fanatico_master
import fanatico_sweep
from _runners import fanatico_drill as runner

UNITS = {"haproxy1": ["haproxy.service", "keepalived.service"], "db1": ["patroni.service"]}
FIGURES = {"write_gap": 1.73, "read_gap": 0.05, "acknowledged": 900, "unknown": 2, "lost": 0}


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        (("explode", None, None), "switchover, stop, kill"),
        (("stop", None, None), "needs a host and a unit"),
        (("stop", "haproxy1", None), "needs a host and a unit"),
        (("stop", "db9", "patroni.service"), "no node of the plan"),
        (("stop", "db1", "sshd.service"), "sshd.service"),
        (("kill", "db1", "patroni.service"), "force=True"),
    ],
)
def test_invalid_requests_are_refused(asked, word):
    assert word in fanatico_drill.refusal(*asked, UNITS, "ok", False)


@pytest.mark.parametrize("status", ["degraded", "critical", "unknown"])
def test_a_cluster_that_is_not_ok_is_left_alone(status):
    assert status in fanatico_drill.refusal("switchover", None, None, UNITS, status, True)


@pytest.mark.parametrize(
    "asked",
    [
        ("switchover", None, None, False),
        ("stop", "haproxy1", "haproxy.service", False),
        ("kill", "db1", "patroni.service", True),
    ],
)
def test_what_may_be_drilled(asked):
    *words, really = asked
    assert fanatico_drill.refusal(*words, UNITS, "ok", really) == ""


class Master:
    """Everything the runner talks to; takes down what it was asked for."""

    def __init__(self, plan):
        self.plan, self.asked, self.said = plan, [], []
        self.statuses, self.answers = ["ok"], {}

    def fanout(self, opts, nodes, function, args, timeout):
        (node,) = nodes
        self.asked.append((node, function, *args))
        answer = self.answers.get(
            function,
            {
                "fanatico_drill.load": FIGURES,
                "fanatico_patroni.switchover": "db2",
                "fanatico_unit.kill": 4711,
                "service.stop": True,
                "service.start": True,
            }[function],
        )
        return {} if answer is None else {node: answer}

    def status(self):
        return {"status": self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]}


@pytest.fixture
def master(plan, monkeypatch):
    one = Master(plan)
    pillar = {"rpc": {"ws": "native", "follow": False}}
    monkeypatch.setattr(fanatico_master, "plan", lambda opts: plan)
    monkeypatch.setattr(fanatico_master, "compiled", lambda opts, node: (pillar, []))
    monkeypatch.setattr(fanatico_sweep, "fanout", one.fanout)
    runners = {
        "fanatico.status": one.status,
        "fanatico.lock": lambda purpose, wait: one.said.append(("lock", purpose)),
        "fanatico.unlock": lambda reason, host: one.said.append(("unlock", host, reason)),
    }
    for name, value in (("__salt__", runners), ("__opts__", {})):
        monkeypatch.setattr(runner, name, value, raising=False)
    monkeypatch.setattr(
        runner, "time", types.SimpleNamespace(sleep=lambda _: None, monotonic=iter(range(10**6)).__next__)
    )
    return one


def calls(master):
    return [(node, *rest) for node, *rest in master.asked if rest[0] != "fanatico_drill.load"]


def test_a_switchover(master):
    told = runner.drill("switchover")
    assert calls(master) == [("db1", "fanatico_patroni.switchover", "any")]
    for figure in ("1.73 s", "0.05 s", "900 acknowledged", "2 unknown", "0 lost"):
        assert figure in told["said"]
    assert master.said == [("lock", "drill"), ("unlock", "", told["said"])]


def test_a_service_is_stopped_and_started_and_another_host_is_the_client(master):
    told = runner.drill("stop", host="db3", unit="patroni")
    assert calls(master) == [
        ("db3", "service.stop", "patroni.service"),
        ("db3", "service.start", "patroni.service"),
    ]
    assert ("db2", "fanatico_drill.load", 20.0) in master.asked
    assert told["unit"] == "patroni.service"


def test_a_service_that_does_not_stop_is_started_all_the_same(master):
    master.answers["service.stop"] = "Failed to stop"
    with pytest.raises(CommandExecutionError, match="haproxy1: service.stop .*Failed to stop"):
        runner.drill("stop", host="haproxy1", unit="haproxy")
    assert calls(master)[-1] == ("haproxy1", "service.start", "haproxy.service")
    assert master.said[-1] == ("unlock", "haproxy1", "not completed")


def test_a_client_that_could_not_connect_is_reported(master):
    master.answers["fanatico_drill.load"] = "db3: no session with 10.0.0.100:5432"
    with pytest.raises(CommandExecutionError, match="no session with"):
        runner.drill("switchover")


def test_a_lost_write_is_a_failure(master):
    master.answers["fanatico_drill.load"] = FIGURES | {"lost": 1}
    with pytest.raises(CommandExecutionError, match="1 lost"):
        runner.drill("switchover")


def test_it_waits_until_the_cluster_is_ok(master):
    master.statuses = ["ok", "degraded", "critical", "ok"]
    assert runner.drill("switchover")["whole_after"] > 0
    assert len(master.statuses) == 1


def test_a_cluster_that_stays_degraded_is_a_failure(master):
    master.statuses = ["ok", "degraded"]
    with pytest.raises(CommandExecutionError, match="degraded after 180 s"):
        runner.drill("switchover")


def test_a_unit_that_the_nodes_settings_leave_out_is_not_drilled(master):
    with pytest.raises(CommandExecutionError, match="fanatico-rpc-ws.service .* rpc1"):
        runner.drill("stop", host="rpc1", unit="fanatico-rpc-ws")
    assert master.said == []


def test_nothing_is_locked_where_it_is_refused(master):
    with pytest.raises(CommandExecutionError, match="force=True"):
        runner.drill("kill", host="db1", unit="patroni")
    assert (master.said, master.asked) == ([], [])
