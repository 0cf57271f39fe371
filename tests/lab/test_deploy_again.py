"""Convergence: what was deployed is not touched by deploying it again."""

import time

from tests.support import labs


def test_deploying_again_changes_nothing(healthy):
    began = time.monotonic()
    code, data, printed = labs.deploy(healthy)
    took = time.monotonic() - began
    assert code == 0, printed[-4000:]
    assert labs.deployed_changes(data) == []
    assert took < 60, f"it took {took:.0f} s; 40 is the aim, measured on a quiet machine by ./fanatico bench"


def test_a_highstate_right_after_changes_nothing(healthy):
    answers = labs.highstate(healthy)
    assert sorted(answers) == sorted(healthy.plan["nodes"])
    assert labs.failures(answers) == {}
    assert labs.changes(answers) == {}


def test_a_dry_run_promises_no_change_either(healthy):
    answers = labs.highstate(healthy, "*", "test=True")
    assert labs.changes(answers) == {}
    undecided = {
        name: [state for state, result in states.items() if result["result"] is not True]
        for name, states in answers.items()
    }
    assert {name: states for name, states in undecided.items() if states} == {}


def test_the_deploy_is_in_the_history(healthy):
    assert any(entry["kind"] == "deploy" for entry in labs.history(healthy))
