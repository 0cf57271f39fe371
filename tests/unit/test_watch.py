"""A deploy's events become lines for people."""

import pytest

from _runners import fanatico_watch as watch

JID = "20260101000000000001"
TITLES = {"fanatico.validate": ["Check the pillar"], "saltutil.sync_all": ["Sync the modules of every host"]}


class Bus:
    """A progress and a clock: `hear(tag, data)` is one event, a second later."""

    def __init__(self):
        self.now = 100.0
        self.progress = watch.Progress(
            JID, "orch.deploy", {fun: list(steps) for fun, steps in TITLES.items()}, self.now
        )

    def hear(self, tag, **data):
        self.now += 1
        return self.progress.lines(tag, data, self.now)

    def step(self, kind, name, **data):
        return self.hear(f"salt/run/{JID}/args", type=kind, name=name, **data)

    def job(self, jid, fun, tgt, minions):
        return self.hear(f"salt/job/{jid}/new", jid=jid, fun=fun, tgt=tgt, minions=minions)

    def returned(self, jid, minion, result=None, retcode=0, fun="state.sls"):
        return self.hear(
            f"salt/job/{jid}/ret/{minion}",
            id=minion,
            fun=fun,
            retcode=retcode,
            success=not retcode,
            **{"return": result},
        )


@pytest.fixture
def configure_loader_modules():
    return {watch: {}}


@pytest.fixture
def bus():
    return Bus()


def test_a_step_is_named_as_in_the_sls(bus):
    assert bus.step("runner", "fanatico.validate") == ["   1.0 s  Check the pillar"]
    assert bus.step("function", "saltutil.sync_all", tgt="*") == ["   2.0 s  Sync the modules of every host"]
    assert bus.step("state", "Prepare every host", tgt="*") == ["   3.0 s  Prepare every host"]


def test_a_step_without_a_title_is_named_by_its_function(bus):
    assert bus.step("function", "test.ping", tgt="*") == ["   1.0 s  test.ping"]


def test_minions_are_counted(bus):
    bus.step("state", "Prepare every host", tgt="*")
    bus.job("7", "state.sls", "*", ["db1", "db2"])
    assert bus.progress.waiting(bus.now + 3) == "Prepare every host: waiting for db1, db2, 3 s"
    assert bus.returned("7", "db2", {}) == []
    assert bus.progress.waiting(bus.now + 3) == "Prepare every host: waiting for db1, 4 s"
    assert bus.returned("7", "db1", {}) == ["   4.0 s    Prepare every host: 2 of 2 done in 2.0 s"]
    assert bus.progress.waiting(bus.now) == ""


def test_what_changed_is_shown_as_at_the_end(bus):
    bus.step("state", "Prepare every host", tgt="*")
    bus.job("7", "state.sls", "*", ["db1", "db2", "db10"])
    result = {
        "file_|-a_|-a_|-managed": {"result": True, "changes": {"diff": "New file"}},
        "file_|-b_|-b_|-managed": {"result": True, "changes": {"mode": "0600"}},
        "file_|-c_|-c_|-managed": {"result": True, "changes": {}},
    }
    bus.returned("7", "db10", result)
    bus.returned("7", "db2", result)
    assert bus.returned("7", "db1", {}) == [
        "   5.0 s    Prepare every host: 3 of 3 done in 3.0 s, changed: db2 2, db10 2"
    ]


def test_failures_in_plain_words(bus):
    bus.step("state", "Prepare every host", tgt="*")
    bus.job("7", "state.sls", "*", ["db1", "db2"])
    result = {
        "pkg_|-x_|-x_|-installed": {
            "__id__": "PostgreSQL is installed",
            "result": False,
            "comment": "\nNo space left on device\nE: more",
        },
        "file_|-y_|-y_|-managed": {
            "__id__": "Later",
            "result": False,
            "comment": "One or more requisite failed: postgresql.installed.PostgreSQL is installed",
        },
        "file_|-z_|-z_|-managed": {"__id__": "Good", "result": True, "comment": "", "changes": {}},
    }
    assert bus.returned("7", "db1", result, retcode=2) == [
        "   3.0 s    db1: PostgreSQL is installed: No space left on device"
    ]
    assert bus.returned("7", "db2", {}) == ["   4.0 s    Prepare every host: 1 of 2 done in 2.0 s"]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (["Rendering SLS 'base:etcd' failed: x"], "Rendering SLS 'base:etcd' failed: x"),
        (
            "Traceback\n  File\nCommandExecutionError: db1 does not answer",
            "CommandExecutionError: db1 does not answer",
        ),
        (None, "None"),
        ("", "failed without a message"),
    ],
)
def test_a_function_that_fails(bus, result, said):
    bus.step("function", "fanatico.proof", tgt="db1")
    bus.job("8", "fanatico.proof", "db1", ["db1"])
    lines = bus.returned("8", "db1", result, retcode=1, fun="fanatico.proof")
    assert lines[0].endswith(f"db1: {said}")
    assert lines[1].endswith("0 of 1 done in 1.0 s")


def test_a_runner_that_fails(bus):
    bus.step("runner", "fanatico.validate")
    lines = bus.hear(
        "salt/run/9/ret",
        fun="runner.fanatico.validate",
        success=False,
        **{
            "return": "Exception occurred in runner:\nTraceback\nCommandExecutionError: plan:nodes is empty\n"
        },
    )
    assert lines == ["   2.0 s    CommandExecutionError: plan:nodes is empty"]


def test_what_other_jobs_do_is_not_shown(bus):
    bus.step("state", "Prepare every host", tgt="*")
    assert bus.job("6", "test.ping", "*", ["db1"]) == []
    assert bus.returned("6", "db1", True, fun="test.ping") == []
    assert bus.job("5", "state.sls", "db1", ["db1"]) == [], "another target: not this step's"
    assert bus.returned("5", "db1", {}, retcode=2) == []
    assert bus.hear("salt/run/4/ret", fun="runner.jobs.active", success=False, **{"return": "x"}) == []
    assert bus.hear("salt/beacon/db1/fanatico/patroni.service", id="db1") == []
    assert bus.hear("salt/auth", id="db1") == []


def test_two_steps_at_once(bus):
    bus.step("state", "Bring up etcd", tgt=["etcd1"])
    bus.step("state", "Bring up the RPC nodes", tgt=["rpc1", "rpc2"])
    bus.job("2", "state.sls", ["rpc1", "rpc2"], ["rpc1", "rpc2"])
    bus.job("1", "state.sls", ["etcd1"], ["etcd1"])
    assert bus.progress.waiting(bus.now).startswith(
        "Bring up the RPC nodes: waiting for rpc1, rpc2, 1 s; Bring up etcd"
    )


def test_a_nested_orchestration_is_announced(bus):
    tag = f"salt/run/{JID}/args"
    assert (
        bus.progress.nested(tag, {"name": "state.orchestrate", "kwargs": {"mods": "orch.etcd"}})
        == "orch.etcd"
    )
    assert bus.progress.nested(tag, {"name": "fanatico.lock", "kwargs": {}}) == ""
    assert bus.progress.nested("salt/run/1/args", {"name": "state.orchestrate"}) == ""


@pytest.mark.parametrize(("success", "word"), [(True, "finished"), (False, "failed")])
def test_the_end(bus, success, word):
    assert not bus.progress.ending
    bus.hear(f"salt/run/{JID}/ret", fun="runner.state.orchestrate", success=success)
    assert bus.progress.ending == f"orch.deploy {word} after 1.0 s."


def test_many_minions_do_not_fill_the_screen():
    assert watch._names({f"node{n}" for n in range(1, 8)}) == "node1, node2, node3 and 4 more"


@pytest.mark.parametrize(
    ("fun_args", "mods"),
    [
        (["orch.deploy"], "orch.deploy"),
        ([{"mods": "orch.deploy", "pillar": {}}], "orch.deploy"),
        ([], "the orchestration"),
    ],
)
def test_the_sls_of_an_orchestration(fun_args, mods):
    assert watch._mods(fun_args) == mods


def test_healing_is_not_watched():
    event = {"fun": "runner.state.orchestrate", "fun_args": [{"mods": "orch.heal"}]}
    assert not watch._begins("salt/run/1/new", event)
    assert watch._begins("salt/run/1/new", {**event, "fun_args": ["orch.deploy"]})
    assert not watch._begins("salt/run/1/ret", {**event, "fun_args": ["orch.deploy"]})


@pytest.mark.parametrize(
    ("running", "shown"),
    [
        ({"jid": JID, "mods": "orch.deploy"}, "orch.deploy"),  # its start was missed: the event is of a step
        ({"jid": "20260101000000000002", "mods": "orch.etcd"}, None),  # it is the one that the event is about
        (None, None),
    ],
)
def test_a_step_of_an_orchestration_is_not_taken_for_the_whole(monkeypatch, capsys, running, shown):
    monkeypatch.setattr(watch, "_running", lambda: running)
    monkeypatch.setattr(watch, "_titles", lambda mods: {})
    progress = watch._already(before="20260101000000000002")
    assert (progress.name if progress else None) == shown
    assert ("is running already" in capsys.readouterr().out) == bool(shown)
