"""A reinstalled node with sshd only is added again by the procedure of docs/fleet.md."""

import json

import pytest

from tests.support import faults, labs, ssh, wait_until

NODE = "rpc3"

pytestmark = [pytest.mark.long, pytest.mark.healthy_is_enough, pytest.mark.usefixtures("bare")]


@pytest.fixture(scope="module")
def bare(lab):
    """NODE with an empty disk and without a key on the master."""
    lab.renew(NODE, bare=True)
    forget(lab)
    address = lab.plan["nodes"][NODE]["address"]
    wait_until(lambda: greeting(lab, address).startswith("SSH-"), 120, f"{NODE}'s sshd to greet")


def greeting(lab, address):
    """The greeting of a host's sshd; on a new host it listens before its keys are generated, without a greeting."""
    program = (
        "import socket, sys; s = socket.create_connection((sys.argv[1], 22), 5); print(s.recv(99).decode())"
    )
    return lab.exec(lab.master, ["python3", "-c", program, address], check=False).stdout


def forget(lab):
    lab.exec(lab.master, ["salt-key", "--yes", "--delete", NODE])


def on_master(lab, *argv, check=True, timeout=60):
    return lab.exec(lab.master, list(argv), check=check, timeout=timeout)


def accept(lab, timeout):
    """(exit code, what fanatico.accept_keys returned) for NODE."""
    argv = ["--out=json", "fanatico.accept_keys", f"timeout={timeout}", f"ids=[{NODE}]"]
    done = lab.salt_run(*argv, check=False)
    return done.returncode, json.loads(done.stdout[done.stdout.index("{") :])


def test_a_missing_key_is_reported(lab):
    code, found = accept(lab, timeout=0)
    assert code == 1
    assert list(found["missing"]) == [NODE]


def test_a_host_without_a_minion_key_is_refused(lab):
    ssh.prepare(lab, NODE)
    assert on_master(lab, "salt-ssh", NODE, "--raw", "hostname").stdout.split()[-1] == NODE
    faults.send_key_as(lab, NODE, "rpc2")
    code, found = accept(lab, timeout=0)
    assert code == 1
    assert "over SSH" in found["refused"][NODE]


def test_salt_ssh_installs_the_minion(lab):
    done = on_master(lab, "salt-ssh", NODE, "state.apply", "minion", "--out=json", check=False, timeout=400)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert lab.exec(NODE, ["systemctl", "is-active", "salt-minion"], check=False).stdout.strip() != "inactive"


def test_the_minion_knows_its_master(lab):
    """Otherwise it would trust the first master that answers."""
    fingers = lab.exec(
        NODE, ["sed", "-n", "s/^master_finger: //p", "/etc/salt/minion.d/fanatico.conf"]
    ).stdout
    known = on_master(lab, "salt-call", "--local", "--out=json", "key.finger_master").stdout
    assert json.loads(fingers) == json.loads(known)["local"]


def test_its_own_key_is_accepted(lab):
    forget(lab)
    code, found = accept(lab, timeout=60)
    assert (code, found) == (0, {"accepted": [NODE], "refused": {}, "missing": {}})


def test_the_deploy_takes_it_in(lab):
    code, _, printed = labs.deploy(lab)
    assert code == 0, printed[-4000:]
    labs.wait_healthy(lab)


def test_a_highstate_there_changes_nothing(lab):
    assert labs.changes(labs.highstate(lab, NODE)) == {}
