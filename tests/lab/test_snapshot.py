"""Snapshots of a whole lab: saved, restored, refused, dropped."""

import json
import subprocess
import sys

import pytest

from lab import snapshot
from lab.machines import Lab
from lab.shell import delete
from tests.support import REPO

NAME = "small"
PLAN = REPO / "tests" / "plans" / "three_nodes.sls"
SAVED = "test-saved"


def command(*words):
    argv = [sys.executable, "-m", "lab", *words]
    return subprocess.run(argv, cwd=REPO, capture_output=True, text=True, timeout=300)


def refused(*words):
    done = command(*words)
    assert done.returncode == 1
    assert done.stderr.startswith("fanatico: ")
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def small():
    """A lab of four machines whose minions answer; nothing is deployed to it."""
    clean()
    up = command("up", "--no-deploy", "--plan", str(PLAN), "--name", NAME)
    try:
        assert up.returncode == 0, up.stdout[-3000:] + up.stderr
        yield Lab(NAME)
    finally:
        clean()


def clean():
    command("down", "--name", NAME)
    for name in (f"{SAVED}-3", f"{SAVED}-2", SAVED):
        command("snapshot", "drop", name)


def mark(lab, text):
    for name in lab.plan["nodes"]:
        lab.exec(name, ["sh", "-c", f"echo {text} > /root/mark; rm -f /etc/issue"])
    lab.site_write({"mark": text})


def marks(lab):
    """Return the marks on the machines, and whether the lab's site file has one."""
    read = ["sh", "-c", "cat /root/mark; test -e /etc/issue && echo restored"]
    found = {tuple(lab.exec(name, read, check=False).stdout.split()) for name in lab.plan["nodes"]}
    return found, "mark: first" in (lab.folder / "site" / "init.sls").read_text()


def test_what_was_saved_comes_back(small):
    """Written files, deleted files of the image, and the lab's own pillar."""
    mark(small, "first")
    saved = command("snapshot", "save", SAVED, "--name", NAME)
    assert saved.returncode == 0, saved.stdout + saved.stderr
    assert sorted(small.running()) == sorted(small.plan["nodes"])
    assert marks(small) == ({("first",)}, True)
    mark(small, "second")
    restored = command("snapshot", "restore", SAVED, "--name", NAME)
    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert marks(small) == ({("first",)}, True)


def test_nothing_of_it_was_copied(small):
    """The disks in the snapshot are the lower layers of the lab's machines."""
    found = snapshot.Snapshot(SAVED)
    assert {name: machine.layers()[0] for name, machine in small.machines.items()} == {
        name: found.folder / "machines" / name for name in small.machines
    }


def test_a_snapshot_can_be_saved_on_top_of_another(small):
    mark(small, "third")
    assert command("snapshot", "save", f"{SAVED}-2", "--name", NAME).returncode == 0
    assert command("snapshot", "restore", SAVED, "--name", NAME).returncode == 0
    assert marks(small)[0] == {("first",)}
    listed = command("snapshot", "list").stdout
    assert all(name in listed for name in (SAVED, f"{SAVED}-2"))
    assert f"{SAVED}-2" in refused("snapshot", "drop", SAVED)
    assert command("snapshot", "drop", f"{SAVED}-2").returncode == 0


def test_a_taken_name_is_refused_before_a_machine_stops(small):
    before = {name: machine.leader() for name, machine in small.machines.items()}
    assert SAVED in refused("snapshot", "save", SAVED, "--name", NAME)
    assert {name: machine.leader() for name, machine in small.machines.items()} == before


def test_a_save_that_was_killed_loses_no_disk(small):
    """It leaves some moved disks and no snapshot. The next `save`, with any name, returns them first."""
    mark(small, "kept")
    for name in small.machines:
        small.power_off(name)
    part = snapshot.SNAPSHOTS / f"{SAVED}-2.part"
    (part / "machines").mkdir(parents=True)
    (part / "lab").write_text(NAME)
    first = next(iter(small.machines.values()))
    first.release(part / "machines" / first.name)
    saved = command("snapshot", "save", f"{SAVED}-3", "--name", NAME)
    assert saved.returncode == 0, saved.stdout + saved.stderr
    assert marks(small)[0] == {("kept",)}
    assert not part.exists()


def test_disks_of_another_lab_are_not_thrown_away(small):
    part = snapshot.SNAPSHOTS / f"{SAVED}-2.part"
    (snapshot.LABS / f"{NAME}-other").mkdir()
    part.mkdir()
    (part / "lab").write_text(f"{NAME}-other")
    try:
        assert f"{NAME}-other" in refused("snapshot", "save", f"{SAVED}-2", "--name", NAME)
        assert part.exists()
        assert len(small.running()) == len(small.plan["nodes"])
    finally:
        (snapshot.LABS / f"{NAME}-other").rmdir()
        delete(part)


@pytest.mark.parametrize("what", ["tree", "image"])
def test_a_snapshot_of_another_tree_or_image_is_refused(small, what):
    path = snapshot.Snapshot(SAVED).folder / "snapshot.json"
    before = path.read_text()
    path.write_text(json.dumps({**json.loads(before), what: "0123456789ab"}))
    try:
        assert f"another {what}" in refused("snapshot", "restore", SAVED, "--name", NAME)
        assert len(small.running()) == len(small.plan["nodes"])
    finally:
        path.write_text(before)


def test_an_unknown_snapshot_is_refused(small):
    assert "no snapshot" in refused("snapshot", "restore", "nothing", "--name", NAME)
    assert "no snapshot" in refused("snapshot", "drop", "nothing")


def test_a_lab_that_does_not_exist_has_nothing_to_save():
    assert "no lab" in refused("snapshot", "save", SAVED, "--name", "nowhere")


def test_up_does_not_start_an_existing_lab_from_a_snapshot(small):
    assert "snapshot restore" in refused("up", "--from", SAVED, "--name", NAME)
