"""The Salt master backs itself up, and a bare host becomes this master again: no minion is touched, no write is lost."""

import hashlib
import json

import pytest

from tests.support import labs

pytestmark = pytest.mark.ends_healthy

HOST, FOLDER = "ops1", "/var/lib/fanatico-master-backup"
PROGRAM = "/srv/fanatico/bootstrap-master"
# A certificate, and the minion's process with its key, on each host: nothing of that may change.
PRINT = (
    "sha256sum /etc/*/pki/*.crt /etc/salt/pki/minion/*; systemctl show -P MainPID -P NRestarts salt-minion"
)


def backed_up(lab, check=True):
    """What `fanatico.master_backup` returned."""
    done = lab.salt_run("--out=json", "fanatico.master_backup", check=check)
    return json.loads(done.stdout[done.stdout.index("{") :])


def copy(lab, path):
    """The bytes of a file on the backup host; read on the real machine."""
    return (lab.root(HOST) / path.removeprefix("/")).read_bytes()


def give(lab, path, content):
    """Write a file for root alone on the master."""
    target = lab.root(lab.master) / path.removeprefix("/")
    lab.exec(lab.master, ["install", "-m", "600", "/dev/null", path])
    target.write_bytes(content)


def restore(lab, *words, timeout=60):
    return lab.exec(lab.master, [PROGRAM, "--restore", *words], timeout=timeout, check=False)


@pytest.fixture(scope="module")
def passphrase(lab):
    shown = lab.exec(lab.master, [PROGRAM, "--passphrase", "--again"])
    return shown.stdout.strip()


@pytest.fixture
def file(lab, passphrase):
    """The newest backup, on the master as `/root/backup`, its passphrase as `/root/word`."""
    found = backed_up(lab)
    give(lab, "/root/backup", copy(lab, found["file"]))
    give(lab, "/root/word", f"{passphrase}\n".encode())
    return found


def test_the_backup_host_has_what_the_master_has(healthy):
    found = backed_up(healthy)
    assert found["copies"] == {HOST: ""}
    assert hashlib.sha256(copy(healthy, found["file"])).hexdigest() == found["sha256"]
    listed = json.loads(healthy.salt_run("--out=json", "fanatico.master_backups").stdout)
    name = found["file"].rpartition("/")[2]
    assert listed[name]["on"] == [healthy.master, HOST]
    assert healthy.exec(HOST, ["stat", "-c", "%a %U", FOLDER, found["file"]]).stdout.split("\n")[:2] == [
        "700 root",
        "600 root",
    ]


def test_the_deploy_has_backed_it_up_and_an_unchanged_master_is_not_again(healthy):
    assert healthy.salt_run("--out=json", "fanatico.master_changed").stdout.count('"made": false') == 1


def test_the_passphrase_is_in_no_argument_event_or_log(healthy, passphrase):
    """It is where the secrets are: encrypted on the master."""
    for node, places in (
        (healthy.master, ("/var/log", "/var/cache/salt", "/var/lib", "/etc")),
        (HOST, ("/etc", "/var")),
    ):
        found = healthy.exec(node, ["grep", "-rlF", passphrase, *places], check=False, timeout=120)
        assert found.stdout == ""
    assert passphrase not in healthy.exec(healthy.master, ["journalctl", "--no-pager", "-q"]).stdout


def test_the_passphrase_is_shown_once(healthy, passphrase):
    again = healthy.exec(healthy.master, [PROGRAM, "--passphrase"], check=False)
    assert (again.returncode, again.stdout) == (1, "")
    assert len(passphrase) == 32


def test_the_file_is_made_without_the_masters_daemon(healthy):
    """By the unit of the timer; the copy follows with the next run."""
    healthy.exec(healthy.master, ["systemctl", "stop", "salt-master"])
    try:
        healthy.exec(healthy.master, ["rm", f"{FOLDER}/state.json"])
        healthy.exec(
            healthy.master, ["systemctl", "start", "fanatico-master-backup"], timeout=120, check=False
        )
        state = json.loads(healthy.exec(healthy.master, ["cat", f"{FOLDER}/state.json"]).stdout)
        assert state["error"] == ""
        assert state["copies"][HOST]["error"]
    finally:
        healthy.exec(healthy.master, ["systemctl", "stop", "fanatico-master-backup"])  # its next attempt
        healthy.exec(healthy.master, ["systemctl", "start", "salt-master"])
    labs.wait_answer(healthy, HOST)
    healthy.exec(healthy.master, ["systemctl", "start", "fanatico-master-backup"], timeout=120)
    assert hashlib.sha256(copy(healthy, f"{FOLDER}/{state['file']}")).hexdigest() == state["sha256"]
    labs.wait_healthy(healthy)


def test_no_minion_can_send_or_ask_for_a_backup(healthy):
    for function in ("confirm", "receive", "listing"):
        words = ["salt-call", "--out=json", "publish.publish", HOST, f"fanatico_master_copy.{function}"]
        said = healthy.exec("rpc1", words, timeout=60).stdout
        assert json.loads(said[said.index("{") :])["local"] in ({}, None, [])


@pytest.mark.parametrize("fault", ["word", "damaged", "plan", "mode", "other"])
def test_a_restore_is_refused_before_anything_is_touched(healthy, file, fault):
    """On the running master, which is whole afterwards."""
    options = {"word": "/root/word", "plan": healthy.plan["name"]}
    if fault == "word":
        give(healthy, "/root/word", b"another-passphrase\n")
    if fault == "damaged":
        give(healthy, "/root/backup", copy(healthy, file["file"])[:-1000])
    if fault == "plan":
        options["plan"] = "another"
    if fault == "mode":
        healthy.exec(healthy.master, ["chmod", "644", "/root/word"])
    key = "/etc/salt/pki/master/minions/rpc1"
    if fault == "other":
        healthy.exec(healthy.master, ["cp", "-a", key, "/root/key"])
        healthy.exec(healthy.master, ["sh", "-c", f"echo >> {key}"])
    look = [
        "sh",
        "-c",
        "find /etc /var/lib/fanatico -type f -newer /root/backup ! -name 'lock*' ! -name '.*'; "
        "systemctl show -P MainPID salt-master",
    ]
    before = healthy.exec(healthy.master, look).stdout
    try:
        done = restore(
            healthy, "/root/backup", "--passphrase-file", options["word"], "--plan", options["plan"]
        )
        assert done.returncode == 1
        assert healthy.exec(healthy.master, look).stdout == before
    finally:
        if fault == "other":
            healthy.exec(healthy.master, ["cp", "-a", "/root/key", key])


@pytest.mark.long
def test_a_lost_master_is_restored_on_a_bare_host(healthy, file, passphrase):
    lab, others = healthy, [node for node in healthy.machines if node != healthy.master]
    content = copy(lab, file["file"])
    before = {node: lab.exec(node, ["sh", "-c", PRINT]).stdout for node in others}
    history = lab.exec(lab.master, ["cat", "/var/log/fanatico/history.jsonl"]).stdout.splitlines()
    with labs.writing(lab, "db1") as session:
        lab.renew(lab.master, bare=True)
        for path in [*(lab.folder / "secrets").iterdir(), *(lab.folder / "site").iterdir()]:
            path.unlink()
        give(lab, "/root/backup", content)
        give(lab, "/root/word", f"{passphrase}\n".encode())
        done = restore(lab, "/root/backup", "--passphrase-file", "/root/word", timeout=400)
        assert done.returncode == 0, done.stdout + done.stderr
        labs.wait_healthy(lab)
    labs.assert_not_cut(lab, session)
    assert session["written"] > 0
    assert {node: lab.exec(node, ["sh", "-c", PRINT]).stdout for node in others} == before
    kept = lab.exec(lab.master, ["cat", "/var/log/fanatico/history.jsonl"]).stdout.splitlines()
    assert kept[: len(history)] == history or set(kept) >= set(history)


@pytest.mark.long
def test_a_second_restore_changes_nothing(healthy, file):
    """The same data: it finishes, as after an interruption."""
    found = restore(healthy, "/root/backup", "--passphrase-file", "/root/word", timeout=400)
    assert found.returncode == 0, found.stdout + found.stderr
    labs.wait_healthy(healthy)
