"""./fanatico: a second `up` changes nothing, `down` leaves nothing, and an error is one short message."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import cgroup, network
from lab import plan as plans
from lab.machines import Lab
from tests.support import REPO, wait_until

pytestmark = pytest.mark.healthy_is_enough

SPARE = "spare"  # name of a second lab


def command(*words, env=None, user=None, timeout=300):
    argv = [sys.executable, "-m", "lab", *words]
    return subprocess.run(
        argv,
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=timeout,
        user=user,
        env={**os.environ, **(env or {})},
    )


def sentence(done):
    """Return the error message of a failed command, on one line."""
    assert done.returncode != 0
    text = " ".join(done.stderr.split())
    assert text.startswith("fanatico: ")
    assert "Traceback" not in done.stderr
    assert len(text) < 400
    return text


def traces(name):
    """Return everything that a lab of this name has on the real machine."""
    found = [f"namespace {one}" for one in network.namespaces(name)]
    found += [
        f"mount {line.split()[4]}"
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if f"/{name}/" in line
    ]
    if cgroup.path(name).exists():
        found.append(f"cgroup {cgroup.path(name)}")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"/fanatico-lab/{name}/" in (process / "cgroup").read_text():
                found.append(f"process {(process / 'comm').read_text().strip()}")
        except OSError:
            continue
    if Lab(name).folder.exists():
        found.append(f"folder {Lab(name).folder}")
    return found


def test_up_again_is_harmless(lab):
    before = {name: machine.leader() for name, machine in lab.machines.items()}
    assert "already up" in sentence(command("up", "--name", lab.name))
    assert {name: machine.leader() for name, machine in lab.machines.items()} == before


def test_status_shows_machines_and_cluster(lab):
    done = command("status", "--name", lab.name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(name in done.stdout for name in lab.plan["nodes"])


def test_exec_passes_words_and_exit_code(lab):
    done = command("exec", "--name", lab.name, "etcd1", "--", "sh", "-c", "hostname; exit 7")
    assert (done.stdout, done.returncode) == ("etcd1\n", 7)


@pytest.fixture
def spare(lab):
    """The name of a machine that the lab does not have; removed afterwards."""
    yield "spare1"
    if "spare1" in lab.machines:
        lab.remove("spare1")


def machine(lab, *words):
    return command("machine", *words, "--name", lab.name)


def test_one_more_machine(lab, spare):
    """It is in the plan, the master accepts it, and it can be removed."""
    before = lab.plan
    added = machine(lab, "add", spare, "--role", "rpc")
    assert added.returncode == 0, added.stdout + added.stderr
    assert "orch.deploy" in added.stdout
    assert lab.plan["nodes"][spare]["roles"] == ["rpc"]
    assert lab.salt(spare, "test.ping") == {spare: True}
    assert spare in sentence(machine(lab, "add", spare, "--role", "rpc"))
    removed = machine(lab, "remove", spare)
    assert removed.returncode == 0, removed.stderr
    assert lab.plan == before
    assert spare not in lab.salt_run("manage.present", "--out=json").stdout
    assert not (lab.root(lab.master) / "etc/salt/pki/master/minions" / spare).exists()
    lab.salt_run("fanatico.admit")


def test_one_more_bare_machine(lab, spare):
    """Like a new real host: with sshd, without Salt, not in the plan."""
    before, address = lab.plan, plans.free_address(lab.plan, "rpc")
    added = machine(lab, "add", spare, "--bare", "--address", address)
    assert added.returncode == 0, added.stdout + added.stderr
    assert lab.plan == before
    assert lab.exec(spare, ["systemctl", "is-active", "ssh"]).stdout == "active\n"
    assert lab.exec(spare, ["test", "-e", "/opt/salt"], check=False).returncode == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["add", "spare1"], "--role"),
        (["add", "spare1", "--role", "cook"], "'cook'"),
        (["add", "spare1", "--role", "rpc", "--address", "192.0.2.7"], "192.0.2.7"),
        (["add", "spare1", "--role", "etcd"], "etcd"),
        (["add", "no/name", "--role", "rpc"], "'no/name'"),
        (["remove", "spare1"], "'spare1'"),
        (["remove", "salt"], "master"),
    ],
)
def test_a_machine_that_does_not_fit(lab, words, said):
    before = lab.plan
    assert said in sentence(machine(lab, *words))
    assert lab.plan == before


def test_an_unknown_machine(lab):
    assert "'etcd9'" in sentence(command("exec", "--name", lab.name, "etcd9", "--", "true"))


def test_no_lab_of_that_name():
    assert "'nowhere'" in sentence(command("exec", "--name", "nowhere", "etcd1", "--", "true"))


def test_a_name_that_would_not_do():
    assert "'Not A Name'" in sentence(command("up", "--name", "Not A Name"))


def test_a_layer_that_does_not_exist():
    done = command("test", "nonsense")
    assert done.returncode != 0
    assert "'nonsense'" in done.stderr


def test_not_root():
    assert "root" in sentence(command("up", "--name", SPARE, user="nobody", env={"HOME": "/nonexistent"}))
    assert traces(SPARE) == []


def test_the_wrong_distribution(tmp_path):
    from lab import preflight
    from lab.errors import LabError

    other = tmp_path / "os-release"
    other.write_text('ID=ubuntu\nVERSION_ID="24.04"\n')
    with pytest.raises(LabError, match=r"ubuntu 24\.04"):
        preflight.check_distribution(other)


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_no_space(small_disk):
    done = command("up", "--name", SPARE, env={"FANATICO_LAB_DIR": str(small_disk)})
    assert "GiB free" in sentence(done)
    assert [path.name for path in small_disk.glob("*/*") if not path.name.startswith(".")] == []


def test_down_leaves_nothing(tmp_path):
    """`down` also removes a lab whose `up` was killed, beside the first lab."""
    argv = [sys.executable, "-m", "lab", "up", "--no-deploy", "--name", SPARE]
    with subprocess.Popen(argv, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as up:
        wait_until(lambda: network.namespaces(SPARE) or up.poll() is not None, 240, "the network of the lab")
        up.kill()
    assert traces(SPARE) != []
    down = command("down", "--name", SPARE)
    assert down.returncode == 0, down.stderr
    assert traces(SPARE) == []


def test_down_without_a_lab_is_harmless():
    assert command("down", "--name", SPARE).returncode == 0
