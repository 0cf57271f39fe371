"""Power cuts: every node recovers by itself, with and without a master, and changes nothing."""

import re

import pytest

from lab.deploy import BOOT_HIGHSTATE
from tests.support import labs, wait_until

pytestmark = pytest.mark.healthy_is_enough


def boot_highstate(lab, node):
    """The output of this boot's boot unit; None until it has succeeded."""
    if lab.exec(node, ["test", "-e", "/run/fanatico-boot.done"], check=False).returncode != 0:
        return None
    return lab.exec(node, ["journalctl", "-b", "-u", "fanatico-boot", "-o", "cat", "--no-pager"]).stdout


def test_a_cold_boot_of_everything(healthy):
    """One host of each role runs its highstate after it; thirteen of them take half a minute of both cores."""
    for name in healthy.plan["nodes"]:
        healthy.power_off(name)
    assert healthy.running() == []
    due = labs.some_nodes(healthy)
    for name, machine in healthy.machines.items():
        machine.power_on(without=[] if name in due else [BOOT_HIGHSTATE])
    labs.wait_healthy(healthy, timeout=180)


def test_a_highstate_is_due_half_a_minute_after_that_boot(lab):
    for name in labs.some_nodes(lab):
        shown = lab.exec(
            name, ["systemctl", "show", "fanatico-boot.timer", "-P", "ActiveState", "-P", "SubState"]
        ).stdout.split()
        done = boot_highstate(lab, name) is not None
        assert shown[0] == "active", name
        assert done or shown[1] in ("waiting", "running"), name


@pytest.mark.parametrize("by", ["hand", pytest.param("timer", marks=pytest.mark.long)])
def test_the_highstate_of_that_boot_changed_nothing(lab, by):
    nodes = list(lab.plan["nodes"])
    if by == "hand":  # one of each role, without waiting for its timer
        nodes = labs.ONE_OF_EACH
        for name in nodes:
            lab.exec(name, ["systemctl", "start", "--no-block", "fanatico-boot.service"])
    for name in nodes:
        words = wait_until(lambda name=name: boot_highstate(lab, name), 120, f"the boot highstate of {name}")
        summary = re.search(r"Succeeded: (\d+)(?: \(changed=(\d+)\))?", words)
        assert summary, f"{name}: {words[-2000:]}"
        assert summary[2] is None, f"{name}: {words[-4000:]}"


@pytest.mark.long
def test_a_node_boots_without_a_master(healthy):
    healthy.power_off(healthy.master)
    try:
        healthy.reboot("rpc1")
        healthy.reboot("etcd1")
        for node, unit in (("rpc1", "fanatico-rpc"), ("etcd1", "etcd")):
            wait_until(
                lambda node=node, unit=unit: (
                    healthy.exec(node, ["systemctl", "is-active", unit]).returncode == 0
                ),
                30,
                f"{unit} on {node} without a master",
            )
    finally:
        healthy.power_on(healthy.master)
        healthy.machine(healthy.master).wait_booted()
    labs.wait_healthy(healthy)


@pytest.mark.long
def test_rebooting_the_leader_in_order_loses_nothing(healthy):
    leader = labs.leader(healthy)
    healthy.reboot(leader)
    labs.wait_healthy(healthy)
    assert labs.leader(healthy) in labs.nodes(healthy, "patroni")
