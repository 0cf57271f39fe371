"""The first cure: what stops runs again without a hand, is written down, and never more often than is good."""

import json
import subprocess

import pytest

from lab.machine import ENVIRONMENT
from tests.support import labs, wait_until

UNITS = [
    ("etcd", "etcd"),
    ("patroni", "patroni"),
    ("haproxy", "haproxy"),
    ("haproxy", "keepalived"),
    ("rpc", "fanatico-rpc"),
]


@pytest.fixture(autouse=True)
def forgotten(lab):
    """Each test begins with an untouched budget."""
    lab.exec(lab.master, ["rm", "-f", "/var/lib/fanatico/guard.json"])


def active(lab, node, unit):
    return lab.exec(node, ["systemctl", "is-active", unit], check=False).stdout.strip() == "active"


class News:
    """What the history gains from here on; read from its file, which costs the machines nothing."""

    def __init__(self, lab):
        self._path = lab.root(lab.master) / "var/log/fanatico/history.jsonl"
        self._seen = len(self._lines())

    def _lines(self):
        return self._path.read_text().splitlines() if self._path.exists() else []

    def wait(self, decision, node, unit, timeout=40):
        """Wait for a decision about a unit and return its entry."""

        def told():
            entries = map(json.loads, self._lines()[self._seen :])
            ours = [
                entry
                for entry in entries
                if (entry.get("host"), entry.get("unit")) == (node, f"{unit}.service")
            ]
            return next((entry for entry in ours if entry["decision"] == decision), None)

        return wait_until(told, timeout, f"{unit} on {node} to be {decision}")


@pytest.mark.parametrize(("role", "unit"), UNITS)
def test_a_stopped_unit_runs_again_and_is_in_the_history(healthy, role, unit):
    node = labs.nodes(healthy, role)[-1]
    news = News(healthy)
    healthy.exec(node, ["systemctl", "stop", unit])
    entry = news.wait("healed", node, unit)
    assert active(healthy, node, unit)
    assert entry["reason"]


def test_a_killed_unit_is_systemds_business(healthy):
    """Its restart policy is quicker than any event; nothing is left for the reactor."""
    node = labs.nodes(healthy, "haproxy")[-1]
    healthy.exec(node, ["systemctl", "kill", "--signal=KILL", "haproxy"])
    wait_until(lambda: active(healthy, node, "haproxy"), 20, "haproxy to run again")


def test_the_fourth_time_is_refused(healthy):
    node, unit = labs.nodes(healthy, "rpc")[-1], "fanatico-rpc"
    for _ in range(3):
        news = News(healthy)
        healthy.exec(node, ["systemctl", "stop", unit])
        news.wait("healed", node, unit)
        wait_until(lambda: active(healthy, node, unit), 20, f"{unit} to be active")
    news = News(healthy)
    healthy.exec(node, ["systemctl", "stop", unit])
    try:
        entry = news.wait("refused", node, unit)
        assert "3 times" in entry["reason"]
        assert not active(healthy, node, unit)
    finally:
        healthy.exec(node, ["systemctl", "start", unit])


def test_nothing_is_healed_while_a_deploy_runs(healthy):
    node, unit = labs.nodes(healthy, "rpc")[-1], "fanatico-rpc"
    machine = healthy.machine(healthy.master)
    # A deploy that holds the lock until its standard input ends.
    program = (
        "import sys; sys.path.insert(0, '/srv/fanatico')\n"
        "from _utils import fanatico_lock\n"
        "print(fanatico_lock.acquire('/var/lib/fanatico', 'deploy'), flush=True); sys.stdin.read()"
    )
    argv = machine.exec_argv(["/opt/salt/bin/python", "-c", program])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(argv, **pipes, text=True, env=ENVIRONMENT) as holder:
        assert "True" in holder.stdout.readline()
        news = News(healthy)
        try:
            healthy.exec(node, ["systemctl", "stop", unit])
            entry = news.wait("refused", node, unit)
            assert "deploy" in entry["reason"]
            assert not active(healthy, node, unit)
        finally:
            holder.stdin.close()
            healthy.exec(node, ["systemctl", "start", unit])


def test_a_frozen_cluster_is_left_alone(healthy):
    node, unit = labs.nodes(healthy, "rpc")[0], "fanatico-rpc"
    healthy.salt_run("fanatico.freeze", "a test", "2m")
    news = News(healthy)
    try:
        healthy.exec(node, ["systemctl", "stop", unit])
        entry = news.wait("refused", node, unit)
        assert "frozen" in entry["reason"]
    finally:
        healthy.salt_run("fanatico.unfreeze")
        healthy.exec(node, ["systemctl", "start", unit])


def test_a_unit_of_somebody_else_is_not_ours_to_start(healthy):
    done = healthy.salt_run("fanatico.heal", "etcd1", "cron.service", "roles=[etcd]", "--out=json")
    assert '"refused"' in done.stdout


def test_people_read_lines(healthy):
    assert "fanatico-rpc.service" in healthy.salt_run("fanatico.history").stdout
