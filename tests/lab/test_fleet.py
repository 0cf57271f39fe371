"""A real host: a node made anew with nothing but sshd comes back by the procedure of docs/fleet.md."""

import json

import pytest

from lab.deploy import reimage
from tests.support import labs, wait_until

NODE = "rpc3"
SSH_KEY = "/etc/salt/pki/master/ssh/salt-ssh.rsa"
IMPOSTOR = "rpc2"  # sends a key of its own in NODE's name

pytestmark = pytest.mark.usefixtures("bare")


@pytest.fixture(scope="module")
def bare(lab):
    """NODE with an empty disk, and forgotten by the master."""
    lab.renew(NODE, bare=True)
    forget(lab)
    address = lab.plan["nodes"][NODE]["address"]
    wait_until(lambda: greeting(lab, address).startswith("SSH-"), 120, f"{NODE}'s sshd to greet")


def greeting(lab, address):
    """What a host's sshd says first; it listens on a new host before it has made its keys, and says nothing then."""
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


def test_the_roster_is_the_plan(lab):
    printed = on_master(lab, "salt-ssh", "*", "--hosts", "--out=json").stdout
    (hosts,) = json.loads(printed).values()
    assert hosts == {
        name: node["address"] for name, node in lab.plan["nodes"].items() if "master" not in node["roles"]
    }


def test_a_host_that_nobody_vouched_for_is_not_talked_to(lab):
    done = on_master(lab, "salt-ssh", NODE, "--raw", "hostname", check=False)
    assert done.returncode != 0
    assert "Host key verification failed" in done.stdout + done.stderr


def test_a_key_is_missing_while_nobody_sent_one(lab):
    code, found = accept(lab, timeout=0)
    assert code == 1
    assert list(found["missing"]) == [NODE]


def test_ssh_is_prepared(lab):
    """The operator's part: his key on the host, the host's key on the master."""
    address = lab.plan["nodes"][NODE]["address"]
    on_master(lab, "mkdir", "-p", "-m", "700", SSH_KEY.rpartition("/")[0])
    on_master(lab, "sh", "-c", f"[ -e {SSH_KEY} ] || ssh-keygen -q -t ed25519 -N '' -f {SSH_KEY}")
    public = on_master(lab, "cat", f"{SSH_KEY}.pub").stdout
    script = "mkdir -p -m 700 /root/.ssh; cat >> /root/.ssh/authorized_keys"
    lab.machine(NODE).exec(["sh", "-c", script], text_input=public)
    host_key = lab.exec(NODE, ["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout
    script = "ssh-keygen -q -R $0 2>/dev/null; cat >> /root/.ssh/known_hosts"
    lab.machine(lab.master).exec(["sh", "-c", script, address], text_input=f"{address} {host_key}")
    assert on_master(lab, "salt-ssh", NODE, "--raw", "hostname").stdout.split()[-1] == NODE


def test_somebody_else_is_quicker(lab):
    """From another machine comes a key in this host's name; the host, which has none yet, does not vouch for it."""
    config = f"{{id: {NODE}, master: {lab.plan['nodes'][lab.master]['address']}, root_dir: /tmp/impostor}}"
    lab.exec(IMPOSTOR, ["sh", "-c", f"mkdir -p /tmp/impostor && echo '{config}' > /tmp/impostor/minion"])
    call = ["timeout", "30", "salt-call", "--config-dir=/tmp/impostor", "test.ping"]
    lab.exec(IMPOSTOR, call, check=False)
    lab.exec(IMPOSTOR, ["rm", "-r", "/tmp/impostor"])
    code, found = accept(lab, timeout=0)
    assert code == 1
    assert "could not be asked for its own key" in found["refused"][NODE]


def test_salt_ssh_installs_the_minion(lab):
    done = on_master(lab, "salt-ssh", NODE, "state.apply", "minion", "--out=json", check=False, timeout=400)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert lab.exec(NODE, ["systemctl", "is-active", "salt-minion"], check=False).stdout.strip() != "inactive"


def test_the_minion_knows_its_master(lab):
    """So it need not trust the first that answers."""
    fingers = lab.exec(
        NODE, ["sed", "-n", "s/^master_finger: //p", "/etc/salt/minion.d/fanatico.conf"]
    ).stdout
    known = on_master(lab, "salt-call", "--local", "--out=json", "key.finger_master").stdout
    assert json.loads(fingers) == json.loads(known)["local"]


def test_the_other_key_is_refused_with_both_fingerprints(lab):
    own = lab.exec(NODE, ["salt-call", "--local", "--out=json", "key.finger"]).stdout
    code, found = accept(lab, timeout=0)
    assert code == 1
    assert json.loads(own)["local"] in found["refused"][NODE]
    assert "somebody else uses its name" in found["refused"][NODE]
    assert NODE not in labs.health(lab)


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


def test_made_anew_once_more_it_is_built_without_a_person(lab):
    """Whoever made it anew has put its SSH host key back: so SSH vouches for the new key of its minion."""
    labs.wait_healthy(lab)
    lab.exec(lab.master, ["rm", "-f", "/var/lib/fanatico/guard.json"])
    news = labs.News(lab)
    reimage(lab, NODE, keep=["etc/ssh", "root/.ssh"])
    assert "its new key accepted" in news.wait("healed", NODE, "key-denied", 90)["reason"]
    assert "the highstate applied" in news.wait("healed", NODE, "bare", 120)["reason"]
    labs.wait_healthy(lab)
