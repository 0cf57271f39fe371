"""Cures of chain nodes, minions and disks; and drift."""

import os

import pytest

from tests.support import faults, labs, wait_until

pytestmark = [pytest.mark.healthy_is_enough, pytest.mark.usefixtures("untouched_budget")]


def test_a_chain_node_that_hangs_is_restarted(healthy):
    node, news = labs.nodes(healthy, "rpc")[1], labs.News(healthy)
    with faults.impatient(healthy, node, look=1):
        faults.suspend(healthy, node, "fanatico-rpc")
        news.wait("healed", node, "rpc-hung", 60)


@pytest.mark.long
@pytest.mark.parametrize("seconds", [8, 30])
def test_a_chain_node_that_falls_behind_the_others_is_restarted(healthy, seconds):
    """The program that feeds the node hangs, while all its units run."""
    node, news = labs.nodes(healthy, "rpc")[2], labs.News(healthy)
    with labs.site(healthy, {"heal": {"rpc_stalled_after": seconds}}):
        healthy.salt(node, "saltutil.refresh_pillar", "wait=True")
        faults.suspend(healthy, node, "fanatico-rpc-follow")
        news.wait("healed", node, "rpc-behind", 120)
    healthy.salt(node, "saltutil.refresh_pillar", "wait=True")


def test_a_minion_that_hangs_is_restarted(healthy):
    node = labs.nodes(healthy, "rpc")[0]
    with faults.impatient(healthy, node, hang=10):
        shown = ["systemctl", "show", "-P", "WatchdogUSec", "salt-minion"]
        wait_until(
            lambda: healthy.exec(node, shown).stdout.strip() == "10s",
            20,
            "the new watchdog time of the minion",
        )
        faults.suspend(healthy, node, "salt-minion")
        labs.wait_answer(healthy, node, 150)


@pytest.mark.long
def test_a_minion_that_hangs_is_restarted_as_shipped(healthy):
    node = labs.nodes(healthy, "rpc")[1]
    faults.suspend(healthy, node, "salt-minion")
    labs.wait_answer(healthy, node, 150)


@pytest.mark.long
def test_a_full_disk_is_given_room(lab, healthy):
    """The lab's machines share one disk, so the limit is set to the free space now, and a package archive uses it up."""
    node, news = labs.nodes(lab, "rpc")[0], labs.News(lab)
    room = os.statvfs(lab.root(node))
    free = room.f_bavail * room.f_frsize / 1024**3
    archive = "/var/cache/apt/archives/filler_1_all.deb"
    lab.exec(node, ["sh", "-c", f"mkdir -p $(dirname {archive}); head -c 2G /dev/zero >{archive}"])
    with labs.site(lab, {"base": {"disk": {"full": {"percent": 100, "gib": free - 1}}}}):
        lab.salt(node, "saltutil.refresh_pillar")
        news.wait("healed", node, "disk-full", 90)
    assert not (lab.root(node) / archive.lstrip("/")).exists()
    lab.salt(node, "saltutil.refresh_pillar")
    labs.wait_healthy(lab)


def test_drift_is_shown_and_put_right_as_far_as_the_plan_allows(lab, healthy):
    node, news = labs.nodes(lab, "rpc")[0], labs.News(lab)
    path = lab.root(node) / "etc/sysctl.d/60-fanatico.conf"
    before = path.read_text()
    lab.exec(node, ["sh", "-c", f"echo '# by hand' >>/{path.relative_to(lab.root(node))}"])
    done = lab.salt_run("fanatico.drift", f"nodes=[{node}]", check=False)
    assert done.returncode == 1
    assert "files" in done.stdout
    assert "by hand" in path.read_text()
    with labs.site(lab, {"heal": {"auto_remediate_drift": ["files"]}}):
        lab.salt(node, "saltutil.refresh_pillar", "wait=True")
        lab.salt_run("fanatico.drift", f"nodes=[{node}]", check=False)
        news.wait("healed", node, "drift", 60)
    lab.salt(node, "saltutil.refresh_pillar")
    assert path.read_text() == before
    assert lab.salt_run("fanatico.drift", f"nodes=[{node}]", check=False).returncode == 0
