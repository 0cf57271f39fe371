"""Refusals of the guard: a recurring fault, a change in progress, a freeze."""

import subprocess

import pytest

from lab.machine import ENVIRONMENT
from tests.support import faults, labs, wait_until

pytestmark = [pytest.mark.healthy_is_enough, pytest.mark.usefixtures("untouched_budget")]


def test_the_fourth_time_is_refused(healthy):
    node, unit = labs.nodes(healthy, "rpc")[-1], "fanatico-rpc"
    for _ in range(3):
        news = labs.News(healthy)
        healthy.exec(node, ["systemctl", "stop", unit])
        news.wait("healed", node, f"{unit}.service")
        wait_until(lambda: faults.active(healthy, node, unit), 20, f"{unit} to be active")
    news = labs.News(healthy)
    healthy.exec(node, ["systemctl", "stop", unit])
    try:
        entry = news.wait("refused", node, f"{unit}.service")
        assert entry["code"] == "attempts-spent"
        assert not faults.active(healthy, node, unit)
    finally:
        healthy.exec(node, ["systemctl", "start", unit])


def test_nothing_is_healed_while_a_deploy_runs(healthy):
    node, unit = labs.nodes(healthy, "rpc")[-1], "fanatico-rpc"
    machine = healthy.machine(healthy.master)
    # A deploy that holds the lock until its standard input ends.
    program = (
        "import sys; sys.path.insert(0, '/srv/fanatico/_runners/_utils')\n"
        "import fanatico_lock\n"
        "print(fanatico_lock.acquire('/var/lib/fanatico', 'deploy'), flush=True); sys.stdin.read()"
    )
    argv = machine.exec_argv(["/opt/salt/bin/python", "-c", program])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(argv, **pipes, text=True, env=ENVIRONMENT) as holder:
        assert "True" in holder.stdout.readline()
        news = labs.News(healthy)
        try:
            healthy.exec(node, ["systemctl", "stop", unit])
            entry = news.wait("refused", node, f"{unit}.service")
            assert entry["code"] == "deploy-running"
            assert not faults.active(healthy, node, unit)
        finally:
            holder.stdin.close()
            healthy.exec(node, ["systemctl", "start", unit])


def test_a_frozen_cluster_is_left_alone(healthy):
    node, unit = labs.nodes(healthy, "rpc")[0], "fanatico-rpc"
    healthy.salt_run("fanatico.freeze", "a test", "2m")
    news = labs.News(healthy)
    try:
        healthy.exec(node, ["systemctl", "stop", unit])
        entry = news.wait("refused", node, f"{unit}.service")
        assert entry["code"] == "frozen"
    finally:
        healthy.salt_run("fanatico.unfreeze")
        healthy.exec(node, ["systemctl", "start", unit])
