"""Ctrl-C in salt-run ends what is running in one sentence; the history has the code `interrupted`, the lock is released."""

import functools
import signal
import sys
import threading
import types

import pytest
import salt.scripts

import fanatico_history
import fanatico_interrupt as interrupt
import fanatico_lock
import fanatico_master
import fanatico_record
from _runners import fanatico_lock as locks
from _runners import fanatico_watch as watch
from _runners._states import fanatico_step as step


def press():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def salt_run(monkeypatch):
    """A process with the handler of Salt's commands."""
    before, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    client = types.SimpleNamespace(options=types.SimpleNamespace(hard_crash=False))
    signal.signal(signal.SIGINT, functools.partial(salt.scripts._handle_signals, client))
    monkeypatch.setattr(interrupt._Interrupt, "happened", False)
    monkeypatch.setattr(interrupt._Interrupt, "depth", 0)
    yield
    signal.signal(signal.SIGINT, before)
    sys.unraisablehook = hook


@pytest.fixture
def configure_loader_modules(tmp_path, monkeypatch):
    opts = {
        "fanatico_home": str(tmp_path),
        "fanatico_history": str(tmp_path / "history.jsonl"),
        "sock_dir": "",
    }
    monkeypatch.setattr(
        fanatico_record,
        "note",
        lambda opts, *what, **facts: fanatico_history.append(opts["fanatico_history"], *what, **facts),
    )
    return {
        locks: {"__opts__": opts},
        watch: {"__opts__": opts},
        step: {
            "__opts__": {"fun": "state.orchestrate"},
            "__low__": {"__id__": "Bring up etcd"},
            "__pillar__": {},
            "__states__": {},
            "__salt__": {"saltutil.runner": lambda name, arg: locks.broke_off(*arg)},
        },
    }


def newest(tmp_path):
    (entry,) = fanatico_history.newest(tmp_path / "history.jsonl", 10)
    return entry


@pytest.mark.parametrize("kind", [step.state, step.function, step.runner, step.orchestration])
def test_a_step_is_interrupted(kind, tmp_path):
    fanatico_lock.acquire(str(tmp_path), "deploy")

    def wait(name, *args, **kwargs):
        press()
        raise AssertionError("it continues")

    step.__states__.update(dict.fromkeys(["salt.state", "salt.function", "salt.runner"], wait))
    ret = kind("x", tgt="db1")
    assert (ret["result"], ret["code"]) == (False, "interrupted")
    assert "Next: " in ret["comment"]
    assert fanatico_lock.holder(str(tmp_path)) is None
    entry = newest(tmp_path)
    assert (entry["kind"], entry["decision"], entry["code"]) == ("deploy", "failed", "interrupted")
    assert entry["reason"].startswith("Bring up etcd: ")


def test_a_runner_that_the_interrupt_ends_within_salt_is_the_same(tmp_path):
    """Salt's runner client catches SystemExit and returns the traceback."""

    def caught(name, **kwargs):
        try:
            press()
        except SystemExit:
            return {"name": name, "result": False, "comment": "", "changes": {"return": "Traceback ..."}}

    step.__states__["salt.runner"] = caught
    ret = step.runner("fanatico.validate", begins="deploy")
    assert "Traceback" not in str(ret)
    assert (newest(tmp_path)["kind"], newest(tmp_path)["code"]) == ("deploy", "interrupted")


def test_a_traceback_in_a_nested_orchestration_is_left_out():
    trace = "Exception occurred in runner: Traceback (most recent call last):\n  File"

    def caught(name, **kwargs):
        try:
            press()
        except SystemExit:
            inner = {"result": False, "comment": trace, "changes": {"ret": {"etcd1": [trace]}}}
            return {
                "name": name,
                "result": False,
                "comment": "",
                "changes": {"return": {"data": {"x": inner}}},
            }

    step.__states__["salt.runner"] = caught
    ret = step.runner("state.orchestrate", begins="deploy")
    assert "Traceback" not in str(ret)
    assert ret["code"] == "interrupted"


def test_between_two_steps_it_ends_the_next_one():
    interrupt.prepare({"fun": "state.orchestrate", "arg": ["orch.deploy"]})
    press()
    step.__states__["salt.state"] = lambda *args, **kwargs: pytest.fail("it was begun")
    assert step.state("x", tgt="db1")["code"] == "interrupted"


def test_a_second_one_is_salts():
    interrupt.prepare({"fun": "state.orchestrate", "arg": ["mods=orch.deploy"]})
    press()
    with pytest.raises(SystemExit):
        press()


@pytest.mark.parametrize(
    "opts", [{}, {"fun": "state.orchestrate", "arg": ["theirs"]}, {"fun": "jobs.active", "arg": []}]
)
def test_what_is_not_ours_is_left_to_salt(opts):
    interrupt.prepare(opts)
    with pytest.raises(SystemExit) as ended:
        press()
    assert not isinstance(ended.value, interrupt.Interrupted)


def test_a_daemon_keeps_its_handler():
    seen = []
    signal.signal(signal.SIGINT, lambda *args: seen.append(args))
    with interrupt.interruptible():
        press()
    assert len(seen) == 1
    assert not interrupt.happened()


def test_a_thread_installs_nothing():
    before = signal.getsignal(signal.SIGINT)

    def heed():
        with interrupt.interruptible():
            pass

    thread = threading.Thread(target=heed)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_runner_ends_in_one_sentence():
    namespace = {"__name__": "example", "__virtualname__": "fanatico", "press": press}
    exec("def work():\n    press()", namespace)
    namespace["work"].__module__ = "example"
    fanatico_master.plain(namespace)
    with pytest.raises(fanatico_master.Refusal, match=r"^fanatico\.work: .*Next: "):
        namespace["work"]()


def test_watching_ends_and_what_is_watched_does_not(monkeypatch):
    monkeypatch.setattr(watch, "_watch", lambda timeout: press())
    with (
        interrupt.interruptible(),
        pytest.raises(fanatico_master.Refusal, match=r"continues.*salt-run fanatico\.watch"),
    ):
        watch.watch()


def test_a_parallel_step_leaves_its_code_in_the_lock(tmp_path, monkeypatch):
    """It is a process of its own, and its orchestration fails when it ends."""
    fanatico_lock.acquire(str(tmp_path), "deploy")
    holder = fanatico_lock.holder(str(tmp_path))
    monkeypatch.setattr(fanatico_lock.os, "getppid", lambda: holder["pid"])
    assert fanatico_lock.will_fail(str(tmp_path), "it was interrupted", "interrupted")
    monkeypatch.setattr(fanatico_lock, "_identity", lambda pid: {"pid": pid, "started": "another"})
    assert fanatico_record.left_over(locks.__opts__)["code"] == "interrupted"
    assert (newest(tmp_path)["decision"], newest(tmp_path)["code"]) == ("failed", "interrupted")
