"""Convergence: what was deployed is not touched by deploying it again, and one can watch that."""

import subprocess
from dataclasses import dataclass

import pytest

from lab.machine import ENVIRONMENT
from tests.support import labs


@dataclass
class Deploy:
    """One run of orch.deploy, and what `fanatico.watch` showed beside it."""

    code: int
    data: dict
    printed: str
    watched: str


@pytest.fixture(scope="module")
def again(lab):
    """The second deploy of this lab."""
    labs.wait_healthy(lab)
    argv = lab.machine(lab.master).exec_argv(["salt-run", "fanatico.watch", "timeout=240"])
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT
    ) as watch:
        code, data, printed = labs.deploy(lab)
        try:
            watched, _ = watch.communicate(timeout=30)  # it ends by itself when the deploy has
        except subprocess.TimeoutExpired:
            watch.kill()
            watched = "(it did not end)"
    return Deploy(code, data, printed, watched)


def test_it_ends_well(again):
    assert again.code == 0, again.printed[-4000:]


def test_it_changes_nothing(again):
    assert labs.deployed_changes(again.data) == []


def test_watching_it_shows_the_steps_and_ends_with_it(again):
    assert "etcd" in again.watched
    assert "Prove it end to end" in again.watched
    assert "did not end" not in again.watched


def test_it_is_in_the_history(again, lab):
    assert [entry["decision"] for entry in labs.history(lab) if entry["kind"] == "deploy"][:2] == [
        "finished",
        "started",
    ]


def test_a_dry_run_right_after_promises_no_change(again, lab):
    answers = labs.highstate(lab, "*", "test=True")
    assert labs.changes(answers) == {}
    undecided = {
        name: [state for state, result in states.items() if result["result"] is not True]
        for name, states in answers.items()
    }
    assert {name: states for name, states in undecided.items() if states} == {}


def test_a_highstate_right_after_changes_nothing(again, lab):
    answers = labs.highstate(lab)
    assert sorted(answers) == sorted(lab.plan["nodes"])
    assert labs.failures(answers) == {}
    assert labs.changes(answers) == {}
