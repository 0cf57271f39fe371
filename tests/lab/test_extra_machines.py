"""Machines beside the plan: they come, go and come again. In a network of their own: nothing needs to be deployed."""

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
def lab(empty):
    """The same, and no test leaves a machine to the next."""
    yield empty
    for name in list(empty.state["extra"]):
        empty.remove_extra(name)


def left_of(lab, name):
    """What there is of a machine on the real machine and in the lab's notes."""
    ends = network.run(["ip", "-netns", network.switch(lab.name), "link", "show", name], check=False)
    found = {
        "note": name in lab.state["extra"],
        "namespace": network.namespace(lab.name, name) in network.namespaces(lab.name),
        "cable": ends.returncode == 0,
        "disk": (lab.folder / "machines" / name).exists(),
        "cgroup": cgroup.path(lab.name, name).exists(),
    }
    return [what for what, is_there in found.items() if is_there]


def test_a_machine_comes_again_while_something_holds_its_old_network(lab):
    """Sockets of ended processes do that for up to a minute; here it is certain."""
    lab.boot_extra(NAME, ADDRESS)
    with open(f"/run/netns/{network.namespace(lab.name, NAME)}"):
        lab.remove_extra(NAME)
        assert left_of(lab, NAME) == []
        machine = lab.boot_extra(NAME, ADDRESS)
    assert machine.exec(["hostname"]).stdout == f"{NAME}\n"
    assert f" {ADDRESS}/" in machine.exec(["ip", "-4", "-o", "address", "show", "eth0"]).stdout


def test_a_cable_and_a_namespace_that_were_left_behind_are_replaced(lab):
    network.attach(lab.name, lab.plan, NAME, ADDRESS)
    network.attach(lab.name, lab.plan, NAME, ADDRESS)
    assert left_of(lab, NAME) == ["namespace", "cable"]
    network.detach(lab.name, NAME)
    assert left_of(lab, NAME) == []


def test_an_address_in_no_network_leaves_nothing(lab):
    with pytest.raises(LabError, match=r"192\.0\.2\.1 is in none of the plan's networks"):
        lab.boot_extra(NAME, "192.0.2.1")
    assert left_of(lab, NAME) == []


def test_a_machine_that_does_not_boot_leaves_nothing(lab, monkeypatch):
    def fail(machine, timeout=60):
        raise LabError(f"{machine.name} did not boot")

    monkeypatch.setattr(Machine, "wait_booted", fail)
    with pytest.raises(LabError, match="visitor did not boot"):
        lab.boot_extra(NAME, ADDRESS)
    assert left_of(lab, NAME) == []


def test_a_name_that_is_taken_is_refused_and_its_machine_stays(lab):
    machine = lab.boot_extra(NAME, ADDRESS)
    before = machine.leader()
    with pytest.raises(LabError, match="already has a machine 'visitor'"):
        lab.boot_extra(NAME, "10.0.1.241")
    assert lab.machine(NAME).leader() == before
    assert lab.state["extra"] == {NAME: ADDRESS}
