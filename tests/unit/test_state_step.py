"""The steps of an orchestration: what counts as a change, and what a failure reports."""

import logging

import pytest

from _runners._states import fanatico_step as step

SAME = {"file_|-a_|-a_|-managed": {"result": True, "changes": {}, "comment": ""}}
MOVED = {"file_|-a_|-a_|-managed": {"result": True, "changes": {"diff": "New file"}, "comment": ""}}


class Salt:
    """Salt's own state module: returns the answer of a test, and records the calls."""

    def __init__(self):
        self.asked = []
        self.answer = {}
        self.noted = []

    def __call__(self, name, *args, **kwargs):
        self.asked.append((name, args, kwargs))
        return {"name": name, "changes": {}, "comment": "", "result": True, **self.answer}


@pytest.fixture
def salt():
    return Salt()


@pytest.fixture
def journal():
    """Answers of machines that are asked for the journal of a unit."""
    return {}


@pytest.fixture
def configure_loader_modules(salt, journal):
    states = {"salt.state": salt, "salt.function": salt, "salt.runner": salt}
    asked = {
        "saltutil.cmd": lambda machine, function, arg, timeout: journal,
        "saltutil.runner": lambda name, arg: salt.noted.append((name, *arg)),
    }
    opts = {"fun": "state.orchestrate"}
    return {
        step: {
            "__states__": states,
            "__salt__": asked,
            "__opts__": opts,
            "__low__": {"__id__": "Bring it up"},
            "__pillar__": {"plan": {"nodes": {}}},
        }
    }


@pytest.mark.parametrize(
    "run",
    [
        lambda: step.state("x", "db1"),
        lambda: step.function("x", "db1"),
        lambda: step.runner("x"),
        lambda: step.orchestration("x"),
    ],
)
@pytest.mark.parametrize("result", [True, False, None])
def test_a_failed_step_releases_the_lock_and_is_in_the_history(salt, run, result):
    salt.answer = {"result": result}
    run()
    noted = [one[:2] for one in salt.noted]
    assert noted == ([("fanatico.broke_off", "Bring it up")] if result is False else [])


def test_a_failed_first_step_names_its_orchestration(salt):
    salt.answer = {"result": False, "changes": {"return": "plan:nodes is empty"}}
    step.runner("fanatico.validate", begins="deploy")
    assert salt.noted == [("fanatico.broke_off", "Bring it up", "plan:nodes is empty", "deploy", "")]
    assert salt.asked == [("fanatico.validate", (), {})]


def test_a_function_changes_nothing(salt):
    salt.answer = {"changes": {"ret": {"db1": True, "db2": True}}}
    ret = step.function("saltutil.refresh_pillar", ["db1", "db2"], tgt_type="list", timeout=60)
    assert (ret["changes"], ret["return"]) == ({}, {"db1": True, "db2": True})
    assert salt.asked == [
        (
            "saltutil.refresh_pillar",
            (["db1", "db2"],),
            {"expect_minions": True, "tgt_type": "list", "timeout": 60},
        )
    ]


def test_a_function_that_applies_states_changes_what_they_change(salt):
    salt.answer = {"changes": {"ret": {"db1": MOVED, "db2": SAME}}}
    ret = step.function("state.apply", "db*", arg=["roles.prepared"])
    assert ret["changes"] == {"out": "highstate", "ret": {"db1": MOVED}}
    assert ret["return"] == {"db2": SAME}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (False, "db1: no answer. Next, on the host: systemctl status salt-minion"),
        ("ERROR: db1: waited 30 s for a leader\ndb1 patroni: no", "db1: waited 30 s for a leader\ndb1 patroni: no"),
        ("It failed: Traceback (most recent call last):\n  File x\nKeyError: 'plan'", "db1: 'plan'"),
    ],
)  # fmt: skip
def test_a_function_that_fails_says_why_and_where(salt, said, words):
    comment = (
        "Running function fanatico.proof failed on minions: db1 Function fanatico.proof ran on db1, db2."
    )
    salt.answer = {"changes": {"ret": {"db1": said, "db2": True}}, "result": False, "comment": comment}
    ret = step.function("fanatico.proof", "db*")
    assert ret["result"] is False
    assert ret["comment"] == words
    assert ret["changes"] == {}


def test_a_function_without_answers(salt):
    salt.answer = {"result": False, "comment": "No minions responded"}
    assert step.function("test.ping", "db*")["comment"] == "No minions responded"


def test_a_runner_changes_nothing(salt):
    salt.answer = {"changes": {"return": {"nodes": 12}}}
    ret = step.runner("fanatico.validate", only=["a"])
    assert (ret["changes"], ret["return"]) == ({}, {"nodes": 12})
    assert salt.asked == [("fanatico.validate", (), {"only": ["a"]})]


@pytest.mark.parametrize(
    ("returned", "changes"),
    [
        (["etcd", "service"], {"changed": ["etcd", "service"]}),
        ([], {}),
        ({"rotated": ["A"]}, {"rotated": ["A"]}),
        ({"forgotten": []}, {}),
        (None, {}),
    ],
)
def test_a_runner_that_acts_changes_what_it_returns(salt, returned, changes):
    salt.answer = {"changes": {"return": returned}}
    ret = step.runner("fanatico.ca_prepare", acts=True)
    assert (ret["changes"], ret["return"]) == (changes, returned)


def test_a_runner_that_fails_says_why(salt):
    said = (
        "Exception occurred in runner fanatico.lock: Traceback (most recent call last):\n"
        '  File "/opt/salt/client/mixins.py", line 1, in low\n    raise\n'
        "salt.exceptions.CommandExecutionError: This deploy was not started: a drill is running.\n  - wait for it\n"
        "ValueError: in a journal that it quotes\n"
    )
    salt.answer = {"changes": {"return": said}, "result": False, "comment": "Runner function failed."}
    assert step.runner("fanatico.lock")["comment"] == (
        "This deploy was not started: a drill is running.\n  - wait for it\nValueError: in a journal that it quotes"
    )


def orchestrated(inner):
    return {"changes": {"return": {"data": {"salt_master": inner}, "outputter": "highstate", "retcode": 0}}}


def test_an_orchestration_that_changed_nothing(salt):
    inner = {"step_|-a_|-a_|-state": {"result": True, "changes": {}, "comment": ""}}
    salt.answer = orchestrated(inner)
    ret = step.orchestration("orch.etcd")
    assert salt.asked == [("state.orchestrate", (), {"mods": "orch.etcd"})]
    assert (ret["name"], ret["changes"], ret["return"]) == ("orch.etcd", {}, {"salt_master": inner})


def test_an_orchestration_that_changed_something(salt):
    inner = {"step_|-a_|-a_|-state": {"result": True, "changes": {"out": "highstate"}, "comment": ""}}
    salt.answer = orchestrated(inner)
    ret = step.orchestration("orch.etcd")
    assert ret["changes"] == {"out": "highstate", "ret": {"salt_master": inner}}
    assert ret["return"] == {}


def test_an_orchestration_that_does_not_compile(salt):
    said = [
        "Rendering SLS 'base:orch.etcd' failed: etcd1 did not tell what it holds\n\n---\n{%- if x %}  <==="
    ]
    salt.answer = {**orchestrated(said), "result": False}
    comment = "orch.etcd failed.\nRendering SLS 'base:orch.etcd' failed: etcd1 did not tell what it holds"
    assert step.orchestration("orch.etcd")["comment"] == comment


def test_a_service_that_does_not_start_brings_its_journal(salt, journal):
    failed = {"result": False, "changes": {}, "comment": "Job for haproxy.service failed", "name": "haproxy"}
    blocked = {
        **failed,
        "comment": "One or more requisite failed: haproxy.running.Start HAProxy",
        "name": "keepalived",
    }
    run = {"service_|-a_|-haproxy_|-running": failed, "service_|-b_|-keepalived_|-running": blocked}
    salt.answer = {"changes": {"out": "highstate", "ret": {"haproxy1": run}}, "result": False}
    journal.update({"haproxy1": {"ret": "haproxy[1]: no more file handles"}})
    step.state("Bring up haproxy1", "haproxy1", sls="roles.haproxy")
    assert failed["comment"] == (
        "Job for haproxy.service failed\nThe last lines of its journal:\nhaproxy[1]: no more file handles"
    )
    assert blocked["comment"].startswith("One or more requisite failed")


def test_a_service_whose_journal_cannot_be_had(salt):
    failed = {"result": False, "changes": {}, "comment": "it failed", "name": "haproxy"}
    run = {"service_|-a_|-haproxy_|-running": failed}
    salt.answer = {"changes": {"out": "highstate", "ret": {"haproxy1": run}}, "result": False}
    step.state("Bring up haproxy1", "haproxy1")
    assert failed["comment"].endswith("salt haproxy1 fanatico.journal haproxy)")


@pytest.fixture
def loggers():
    """Salt's loggers, as they were again afterwards."""
    found = [logging.getLogger(name) for name in ("salt.utils.event", "salt.state")]
    before = [list(logger.filters) for logger in found]
    yield found
    for logger, filters in zip(found, before, strict=True):
        logger.filters[:] = filters


def logged(logger, text, function="x"):
    record = logging.LogRecord(logger.name, logging.WARNING, "event.py", 1, text, (), None, func=function)
    return bool(logger.filter(record))


def test_the_warning_of_salts_own_leak_is_hidden_and_no_other(loggers):
    events, _ = loggers
    for _ in range(3):
        step.__virtual__()
    assert not logged(
        events, "unclosed MasterEvent <salt.utils.event.MasterEvent object>; call ``destroy()``"
    )
    assert logged(events, "Failed to fire args event salt/run/1/args")
    assert len(events.filters) == 1, "a filter more with each orchestration"


def test_a_failure_is_not_logged_where_the_outputter_shows_it(loggers):
    _, states = loggers
    step.__virtual__()
    assert not logged(states, "{'out': 'highstate', 'ret': {}}", "format_log")
    assert logged(states, "Rendering exception occurred", "call_high")


def test_a_failure_is_logged_where_no_outputter_shows_it(loggers):
    _, states = loggers
    step.__opts__["fun"] = None
    step.__virtual__()
    assert logged(states, "it failed", "format_log")
