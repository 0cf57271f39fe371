"""Machines outside the plan: added, removed and added again. In a separate network, without a deploy."""

import contextlib

import pytest

from lab import cgroup, network, testing
from lab.errors import LabError
from lab.machine import Machine
from tests.support import labs

NAME, ADDRESS = "visitor", "10.0.1.240"


@pytest.fixture(scope="module")
def empty():
    """A lab without machines."""
    with labs.network_only(f"{testing.NAME}-extra") as made:
        yield made


@pytest.fixture
def place(empty):
    """The same; machines are removed after each test."""
    yield empty
    for name in list(empty.state["extra"]):
        empty.remove_extra(name)


def left_of(place, name):
    """Return the traces of a machine on the real machine and in the lab's state."""
    ends = network.run(["ip", "-netns", network.switch(place.name), "link", "show", name], check=False)
    found = {
        "note": name in place.state["extra"],
        "namespace": network.namespace(place.name, name) in network.namespaces(place.name),
        "cable": ends.returncode == 0,
        "disk": (place.folder / "machines" / name).exists(),
        "cgroup": cgroup.path(place.name, name).exists(),
    }
    return [what for what, is_there in found.items() if is_there]


def test_a_machine_comes_again_while_something_holds_its_old_network(place):
    """Sockets of ended processes keep a namespace for up to a minute; here a process does it reliably."""
    place.boot_extra(NAME, ADDRESS)
    with open(f"/run/netns/{network.namespace(place.name, NAME)}"):
        place.remove_extra(NAME)
        assert left_of(place, NAME) == []
        machine = place.boot_extra(NAME, ADDRESS)
    assert machine.exec(["hostname"]).stdout == f"{NAME}\n"
    assert f" {ADDRESS}/" in machine.exec(["ip", "-4", "-o", "address", "show", "eth0"]).stdout


def test_a_cable_and_a_namespace_that_were_left_behind_are_replaced(place):
    network.attach(place.name, place.plan, NAME, ADDRESS)
    network.attach(place.name, place.plan, NAME, ADDRESS)
    assert left_of(place, NAME) == ["namespace", "cable"]
    network.detach(place.name, NAME)
    assert left_of(place, NAME) == []


def test_an_address_in_no_network_leaves_nothing(place):
    with pytest.raises(LabError, match=r"192\.0\.2\.1"):
        place.boot_extra(NAME, "192.0.2.1")
    assert left_of(place, NAME) == []


def test_a_machine_that_does_not_boot_leaves_nothing(place, monkeypatch):
    def fail(machine, timeout=60):
        raise LabError(f"{machine.name} did not boot")

    monkeypatch.setattr(Machine, "wait_booted", fail)
    with pytest.raises(LabError, match="visitor did not boot"):
        place.boot_extra(NAME, ADDRESS)
    assert left_of(place, NAME) == []


def test_a_name_that_is_taken_is_refused_and_its_machine_stays(place):
    machine = place.boot_extra(NAME, ADDRESS)
    before = machine.leader()
    with pytest.raises(LabError, match="'visitor'"):
        place.boot_extra(NAME, "10.0.1.241")
    assert place.machine(NAME).leader() == before
    assert place.state["extra"] == {NAME: ADDRESS}


def test_a_lab_is_paused_while_tests_run_and_resumed_afterwards(place, monkeypatch):
    """On two cores an additional lab made tests time out."""
    machine = place.boot_extra(NAME, ADDRESS)
    monkeypatch.setattr(testing, "NAME", "other-tests")
    monkeypatch.setattr(testing.machines, "names", lambda: [place.name])
    with contextlib.ExitStack() as stack:
        testing.pause_others(stack)
        assert place.paused
        with pytest.raises(LabError, match="paused"):
            machine.exec(["true"])
    assert not place.paused
    assert machine.exec(["hostname"]).stdout == f"{NAME}\n"
    with contextlib.ExitStack() as stack:
        testing.pause_others(stack, lab_name=place.name)
        assert not place.paused


def test_a_locked_lab_is_not_paused(place, monkeypatch, capsys):
    place.boot_extra(NAME, ADDRESS)
    monkeypatch.setattr(testing, "NAME", "other-tests")
    monkeypatch.setattr(testing.machines, "names", lambda: [place.name])
    with place.locked(), contextlib.ExitStack() as stack:
        testing.pause_others(stack)
        assert not place.paused
    assert f"lab {place.name} keeps running" in capsys.readouterr().out
