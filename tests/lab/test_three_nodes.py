"""Three hosts with all roles, in their own lab: deploy, separation of both leaders, and the loss of both at once."""

import subprocess
import sys

import pytest

from lab.drill.faults import FAULTS
from lab.drill.run import Scene, drill, leader, password, violations
from lab.machines import Lab
from tests.support import REPO, faults, labs, wait_until

# Deploys its own lab. Three hosts with all roles and the separation of leaders are also in test_first_hour.
pytestmark = pytest.mark.long

NAME = "three"
PLAN = REPO / "tests" / "plans" / "three_nodes.sls"


def command(*words):
    argv = [sys.executable, "-m", "lab", *words, "--name", NAME]
    return subprocess.run(argv, cwd=REPO, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def three():
    command("down")  # left by an interrupted run
    up = command("up", "--plan", str(PLAN))
    try:
        assert up.returncode == 0, up.stdout[-3000:] + up.stderr
        yield Lab(NAME)
    finally:
        down = command("down")
    assert down.returncode == 0, down.stderr


def test_it_is_well(three):
    assert set(labs.wait_healthy(three)) == set(three.plan["nodes"])


def test_the_leaders_are_separated(three):
    faults.bring_leaders_together(three)
    wait_until(
        lambda: faults.etcd_leader(three) != leader(three), 60, "the two leaders to part by themselves"
    )
    labs.wait_healthy(three)


@pytest.fixture
def together(three):
    """Make one host the leader of both, and prevent the transfer of etcd's leadership before the power cut."""

    def jobs(verb):
        answers = three.salt("*", f"schedule.{verb}", "persist=False")
        assert all(answers[node]["result"] for node in three.plan["nodes"]), answers

    try:
        jobs("disable")
        yield faults.bring_leaders_together(three)
    finally:
        jobs("enable")


def test_losing_both_leaders_with_one_host(three, together, tmp_path):
    labs.wait_healthy(three)
    fault = FAULTS["primary-and-etcd-leader-power"]
    record = drill(Scene(three, password(three)), fault, tmp_path / "run", print, loop_wait=2)
    assert record["etcd_leader_with_primary"]
    assert [(code, text) for code, text in violations(fault, record) if code != "write_gap"] == []
    labs.wait_healthy(three)
