"""An orchestration's entries in the history, however it ends, and its lock, which is free afterwards."""

import contextlib
import json
import signal
import subprocess

import pytest

from tests.integration.conftest import MINION, PATIENCE
from tests.support import wait_until


@pytest.fixture
def orchestrate(salt_run, minion, home, run):
    """Return a function that runs an orchestration as an operator does: ``(exit code, output, [its history entries])``."""

    def call(name, function="test.true", hosts=(MINION,), **wanted):
        path = home / "history.jsonl"
        path.write_text("")
        wanted = {"function": function, "hosts": list(hosts), **wanted}
        ret = salt_run.run("state.orchestrate", name, pillar={"wanted": wanted})
        assert run("fanatico.locked") is None
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        return ret.returncode, ret.stdout, [entry for entry in entries if entry["kind"] in ("outer", "inner")]

    return call


def decisions(entries):
    return [(entry["kind"], entry["decision"]) for entry in entries]


@pytest.mark.parametrize("name", ["inner", "outer"])
def test_one_that_ends_well(orchestrate, name):
    code, printed, entries = orchestrate(name)
    assert code == 0, printed
    assert decisions(entries) == [(name, "started"), (name, "finished")]


def test_one_with_a_step_that_fails(orchestrate):
    """Inside another orchestration: only the outer one fails, once."""
    code, printed, entries = orchestrate("outer", function="test.false")
    assert code != 0, printed
    assert decisions(entries) == [("outer", "started"), ("outer", "failed")]
    assert entries[1]["reason"].startswith("Ask the hosts: ")


def test_one_with_a_host_that_does_not_answer(orchestrate):
    code, printed, entries = orchestrate("inner", hosts=[MINION, "etcd2"])
    assert code != 0, printed
    assert decisions(entries) == [("inner", "started"), ("inner", "failed")]
    assert "etcd2" in entries[1]["reason"]


def test_one_whose_failed_step_runs_beside_others(orchestrate, run, home):
    code, printed, entries = orchestrate("inner", function="test.false", parallel=True)
    assert code != 0, printed
    assert decisions(entries) == [("inner", "started")]
    left = run("fanatico.left_over")
    assert left["failed"].startswith("Ask the hosts: ")
    newest = json.loads((home / "history.jsonl").read_text().splitlines()[-1])
    assert (newest["kind"], newest["decision"], newest["reason"]) == ("inner", "failed", left["failed"])


@contextlib.contextmanager
def interruptible(argv):
    """A command that Ctrl-C reaches: SIGINT is ignored, and inherited so, where these tests run in the background of a shell."""
    process = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("name", ["inner", "outer"])
def test_one_that_the_operator_interrupts(salt_run, minion, home, run, name):
    path = home / "history.jsonl"
    path.write_text("")
    pillar = {"wanted": {"function": "test.sleep", "hosts": [MINION], "arg": [20], "timeout": 60}}
    argv = salt_run.cmdline("state.orchestrate", name, f"pillar={json.dumps(pillar)}")
    with interruptible(argv) as process:
        wait_until(lambda: name in path.read_text(), PATIENCE, "the orchestration to start")
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, printed
    assert "Traceback" not in printed
    assert run("fanatico.locked") is None
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(entry["kind"], entry["decision"], entry.get("code")) for entry in entries] == [
        (name, "started", None),
        (name, "failed", "interrupted"),
    ]


def test_watching_that_the_operator_interrupts(salt_run):
    argv = salt_run.cmdline("fanatico.watch")
    with interruptible(argv) as process:
        assert process.stdout.readline(), "it prints what it waits for"
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, printed
    assert "Traceback" not in printed
    assert "salt-run fanatico.watch" in printed
