"""The master accepts a key only if the host confirms it over SSH. So a reinstalled host needs no operator."""

import json

import pytest

from lab.deploy import reimage
from tests.support import faults, labs, ssh

NODE = "rpc3"
IMPOSTOR = "rpc2"  # sends its own key in NODE's name
SSH_FAILED = 255  # exit code of ssh for an unknown host key

pytestmark = [pytest.mark.healthy_is_enough, pytest.mark.usefixtures("reachable")]


@pytest.fixture(scope="module")
def reachable(lab):
    """NODE with a running sshd and a stopped minion."""
    ssh.start(lab, NODE)
    lab.exec(NODE, ["systemctl", "stop", "salt-minion"])


def on_master(lab, *argv, check=True):
    return lab.exec(lab.master, list(argv), check=check, timeout=60)


def accept(lab, timeout):
    """(exit code, what fanatico.accept_keys returned) for NODE."""
    argv = ["--out=json", "fanatico.accept_keys", f"timeout={timeout}", f"ids=[{NODE}]"]
    done = lab.salt_run(*argv, check=False)
    return done.returncode, json.loads(done.stdout[done.stdout.index("{") :])


def forget(lab):
    lab.exec(lab.master, ["salt-key", "--yes", "--delete", NODE])


def test_the_roster_is_the_plan(lab):
    printed = on_master(lab, "salt-ssh", "*", "--hosts", "--out=json").stdout
    (hosts,) = json.loads(printed).values()
    assert hosts == {
        name: node["address"] for name, node in lab.plan["nodes"].items() if "master" not in node["roles"]
    }


def test_a_host_with_an_unknown_host_key_is_refused(lab):
    """Only its host key is missing. (salt-ssh sometimes loses ssh's message about that.)"""
    ssh.authorise(lab, NODE, ssh.public(lab))
    done = on_master(lab, "salt-ssh", NODE, "--raw", "--out=json", "hostname", check=False)
    assert done.returncode != 0
    assert json.loads(done.stdout)[NODE]["retcode"] == SSH_FAILED


def test_ssh_is_prepared(lab):
    ssh.vouch(lab, NODE)
    assert on_master(lab, "salt-ssh", NODE, "--raw", "hostname").stdout.split()[-1] == NODE


def test_a_key_that_the_host_does_not_know_is_refused_with_both_fingerprints(lab):
    forget(lab)
    faults.send_key_as(lab, NODE, IMPOSTOR)
    own = lab.exec(NODE, ["salt-call", "--local", "--out=json", "key.finger"]).stdout
    code, found = accept(lab, timeout=0)
    assert code == 1
    assert json.loads(own)["local"] in found["refused"][NODE]
    assert f"salt-key -d {NODE}" in found["refused"][NODE]
    assert NODE not in labs.health(lab)


def test_its_own_key_is_accepted(lab):
    forget(lab)
    lab.exec(NODE, ["systemctl", "start", "--no-block", "salt-minion"])
    assert accept(lab, timeout=60) == (0, {"accepted": [NODE], "refused": {}, "missing": {}})


@pytest.mark.long
def test_a_reinstalled_host_is_built_without_a_person(lab, untouched_budget):
    """The reinstallation has restored its SSH host key, so SSH confirms the minion's new key."""
    labs.wait_healthy(lab)
    news = labs.News(lab)
    reimage(lab, NODE, keep=["etc/ssh", "root/.ssh"])
    assert "new key" in news.wait("healed", NODE, "key-denied", 90)["reason"]
    assert "the highstate applied" in news.wait("healed", NODE, "unprovisioned", 120)["reason"]
    labs.wait_healthy(lab)
