"""The output of an orchestration: what changed and what failed; programs get the complete data.

That a deploy without changes fits a screen: test_deploy_again.
"""

import json

import pytest

from tests.support import labs
from tests.support.orchestrations import orchestrate, summary

pytestmark = pytest.mark.healthy_is_enough


@pytest.mark.long
def test_another_orchestration_looks_the_same(healthy):
    done = orchestrate(healthy, "orch.rpc_upgrade")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    said = summary(done.stdout.splitlines(), "orch.rpc_upgrade")
    assert said["Machines"] == str(len([*labs.nodes(healthy, "rpc"), *labs.nodes(healthy, "haproxy")]))
    assert said["Succeeded"].endswith("(changed=0)")


@pytest.fixture
def broken(healthy):
    """Prevent HAProxy on haproxy1 from starting, and cause a change on rpc2 before that; yields the unit's message."""
    unit = "/etc/systemd/system/haproxy.service.d/zz.conf"
    said = "this host has no more file handles"
    text = f'[Service]\nExecStartPre=/bin/sh -c "echo {said} >&2; exit 3"\n'
    healthy.salt_run("fanatico.freeze", "a test breaks HAProxy", "15m")
    try:
        healthy.exec("rpc2", ["sed", "-i", "1i # by hand", "/etc/sysctl.d/60-fanatico.conf"])
        healthy.machine("haproxy1").exec(["sh", "-c", f"cat > {unit}"], text_input=text)
        healthy.exec("haproxy1", ["systemctl", "daemon-reload"])
        healthy.exec("haproxy1", ["systemctl", "stop", "haproxy"])
        yield said
    finally:
        healthy.exec("haproxy1", ["rm", "-f", unit])
        healthy.exec("haproxy1", ["systemctl", "daemon-reload"])
        healthy.exec("haproxy1", ["systemctl", "reset-failed", "haproxy"], check=False)
        healthy.exec("haproxy1", ["systemctl", "start", "haproxy"])
        healthy.salt_run("fanatico.unfreeze")


def test_what_changed_and_what_failed(healthy, broken):
    """The changed machine with its number of changes; then the failed host and state, the unit's log line and the next step."""
    done = orchestrate(healthy, "orch.deploy")
    assert done.returncode == 1, done.stdout
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) <= 80, done.stdout
    changed = [line for line in lines if "changed: " in line]
    assert [line.split()[:3] + line.split()[-3:-1] for line in changed] == [
        ["Prepare", "every", "host", "changed:", "rpc2"]
    ]
    assert summary(lines)["Changes"] == changed[0].split()[-1]
    at = lines.index("FAILED: Bring up haproxy1 on haproxy1")
    assert lines[at + 1] == "  state: Start HAProxy (service.running)"
    assert broken in done.stdout
    assert any(line.startswith("Next: ") for line in lines)
    assert summary(lines)["Failed"] == "1"


def test_a_pillar_that_is_not_sound(lab):
    with labs.site(lab, {"plan": {"timing": {"patroni": {"ttl": 15}}}}):
        done = orchestrate(lab, "orch.deploy")
        as_json = lab.salt_run("--out=json", "state.orchestrate", "orch.deploy", check=False)
    assert (done.returncode, as_json.returncode) == (1, 1)
    assert "FAILED: Check the pillar" in done.stdout
    assert "plan:timing:patroni:ttl: 15 is too small" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    (step,) = json.loads(as_json.stdout)["data"][f"{lab.master}_master"].values()
    assert "plan:timing:patroni:ttl" in step["comment"]
