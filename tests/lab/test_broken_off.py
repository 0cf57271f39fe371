"""Steps whose host or whose master goes while they wait, and an orchestration that is killed: said at once, and written down."""

import json
import subprocess
import threading

import pytest

from tests.support import labs, wait_until

pytestmark = pytest.mark.healthy_is_enough

HOST = "rpc3"


class Waiting:
    """A step that waits for a host to sleep for two minutes."""

    def __init__(self, lab):
        self.lab, self.done = lab, None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        wait_until(self._is_at_it, 30, f"{HOST} to be at it")

    def _run(self):
        words = [
            "state.orchestrate_single",
            "step.function",
            "name=test.sleep",
            f"tgt={HOST}",
            "arg=[120]",
            "timeout=300",
        ]
        self.done = self.lab.salt_run(*words, "--out=json", timeout=150, check=False)

    def _is_at_it(self):
        running = self.lab.exec(
            HOST, ["sh", "-c", "grep -l test.sleep /var/cache/salt/minion/proc/* 2>/dev/null"], check=False
        )
        return bool(running.stdout)

    def ends(self):
        """What it said when it ended, well before its host would have answered, or its own time would have been over."""
        self.thread.join(60)
        assert not self.thread.is_alive(), "it waits for one that has gone"
        return labs.said(self.done.stdout + self.done.stderr)


def test_a_minion_that_goes_is_named(healthy):
    step = Waiting(healthy)
    healthy.exec(HOST, ["systemctl", "kill", "-s", "KILL", "salt-minion"])
    healthy.exec(HOST, ["systemctl", "stop", "salt-minion"])
    try:
        assert f"{HOST} is not connected to the master any more" in step.ends()
    finally:
        healthy.exec(HOST, ["systemctl", "start", "salt-minion"])
        labs.wait_answer(healthy, HOST)


@pytest.mark.long
def test_a_host_that_loses_its_power_is_named(healthy):
    step = Waiting(healthy)
    healthy.machine(HOST).power_off()
    try:
        assert f"{HOST} answers no ping any more" in step.ends()
    finally:
        healthy.machine(HOST).power_on()
        healthy.machine(HOST).wait_booted()
        labs.wait_answer(healthy, HOST)


@pytest.mark.long
def test_a_master_that_is_restarted_ends_the_step(healthy):
    step = Waiting(healthy)
    healthy.exec(healthy.master, ["systemctl", "restart", "salt-master"])
    assert "the Salt master was restarted or has ended" in step.ends()
    for node in healthy.plan["nodes"]:
        labs.wait_answer(healthy, node)


@pytest.mark.long
def test_an_orchestration_that_is_killed_has_failed(healthy):
    """With its terminal, or with the master's host: it says nothing itself. Healing is not kept off, and it is written down."""
    words = "exec salt-run state.orchestrate orch.deploy >/dev/null 2>&1"
    shell = threading.Thread(
        target=lambda: healthy.exec(healthy.master, ["sh", "-c", words], timeout=120, check=False),
        daemon=True,
    )
    shell.start()

    def holder():
        try:
            return json.loads(healthy.salt_run("fanatico.locked", "--out=json").stdout or "null")
        except (ValueError, subprocess.SubprocessError):
            return None

    wait_until(lambda: (holder() or {}).get("purpose") == "deploy", 60, "the deploy to have the lock")
    healthy.exec(healthy.master, ["sh", "-c", f"kill -9 {holder()['pid']}"])
    shell.join(60)
    healthy.salt_run("fanatico.left_over")
    newest = labs.history(healthy, 5)
    (failed,) = [one for one in newest if one["kind"] == "deploy" and one["decision"] == "failed"]
    assert "ended without a word" in failed["reason"]
    assert holder() is None
    labs.wait_healthy(healthy)
