"""A second deploy changes nothing, its output fits a screen, and `fanatico.watch` shows it."""

import subprocess
from dataclasses import dataclass

import pytest

from lab.machine import ENVIRONMENT
from tests.support import labs
from tests.support.orchestrations import orchestrate, summary

pytestmark = pytest.mark.ends_healthy

SUMMARY = "Summary for orch.deploy"


@dataclass
class Deploy:
    """One run of orch.deploy with its output, and the output of `fanatico.watch` beside it."""

    code: int
    said: str
    warned: str
    watched: str

    @property
    def lines(self):
        return self.said.splitlines()


def test_the_lab_was_deployed_once_and_is_healthy_without_another(lab):
    """The facts of the snapshot that every file starts from."""
    assert lab.state["deployed"]
    assert sorted(labs.wait_healthy(lab)) == sorted(lab.plan["nodes"])
    decided = [entry["decision"] for entry in labs.history(lab) if entry["kind"] == "deploy"]
    assert decided == ["finished", "started"]


@pytest.fixture(scope="module")
def again(lab):
    """The second deploy of this lab."""
    labs.wait_healthy(lab)
    argv = lab.machine(lab.master).exec_argv(["salt-run", "fanatico.watch", "timeout=240"])
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT
    ) as watch:
        done = orchestrate(lab, "orch.deploy")
        try:
            watched, _ = watch.communicate(timeout=30)  # it ends with the deploy
        except subprocess.TimeoutExpired:
            watch.kill()
            watched = "(it did not end)"
    return Deploy(done.returncode, done.stdout, done.stderr, watched)


def test_it_ends_well_and_fits_a_screen(again):
    assert again.code == 0, again.said
    assert len(again.lines) <= 40, again.said


def test_nothing_is_warned_of(again):
    assert again.warned == ""


def test_it_shows_each_step_with_its_time(again):
    steps = [line for line in again.lines[1 : again.lines.index(SUMMARY)] if line]
    assert steps[0].startswith("  Check the pillar ")
    assert [line for line in steps if not line.endswith(" s")] == []


def test_it_changes_nothing_and_ends_in_a_summary(lab, again):
    said = summary(again.lines)
    assert said["Machines"] == str(len(lab.plan["nodes"]))
    assert said["Changes"] == "0"
    assert float(said["Seconds"]) > 0
    assert said["Succeeded"].endswith("(changed=0)")
    assert said["Failed"] == "0"
    assert len(again.lines) - again.lines.index("Proof:") == 1 + 5 + 2, (
        "five lines of the proof, then Salt's two"
    )


def test_watching_it_shows_the_steps_and_ends_with_it(again):
    assert "etcd" in again.watched
    assert "Prove the service end to end" in again.watched
    assert "did not end" not in again.watched


def test_it_is_in_the_history(again, lab):
    assert [entry["decision"] for entry in labs.history(lab) if entry["kind"] == "deploy"][:2] == [
        "finished",
        "started",
    ]


WHOM = pytest.mark.parametrize("target", [labs.ONE_OF_EACH, pytest.param("*", marks=pytest.mark.long)])


@WHOM
def test_a_dry_run_right_after_promises_no_change(again, lab, target):
    answers = labs.highstate(lab, target, "test=True")
    assert labs.changes(answers) == {}
    undecided = {
        name: [state for state, result in states.items() if result["result"] is not True]
        for name, states in answers.items()
    }
    assert {name: states for name, states in undecided.items() if states} == {}


@WHOM
def test_a_highstate_right_after_changes_nothing(again, lab, target):
    answers = labs.highstate(lab, target)
    assert set(answers) == set(lab.plan["nodes"] if target == "*" else target)
    assert labs.failures(answers) == {}
    assert labs.changes(answers) == {}


@pytest.mark.long  # a third deploy; in short: test_output, of another orchestration
def test_json_has_everything(lab):
    code, data, _ = labs.deploy(lab)
    assert code == data["retcode"] == 0
    assert labs.deployed_changes(data) == []
    steps = data["data"][f"{lab.master}_master"]
    prepared = next(step for tag, step in steps.items() if "Prepare every host" in tag)
    assert prepared["return"].keys() == lab.plan["nodes"].keys(), (
        "the states of every machine, changed or not"
    )
    assert {tag: step["changes"] for tag, step in steps.items() if step["changes"]} == {}
