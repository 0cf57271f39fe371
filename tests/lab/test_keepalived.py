"""Keepalived during reloads, restarts and changes of the edge."""

import contextlib
import time

import pytest

from tests.support import labs, wait_until

pytestmark = pytest.mark.healthy_is_enough

VRRP = """
pid=$(pgrep --parent "$(systemctl show -P MainPID keepalived)")
echo "$pid"
grep "Max realtime timeout" "/proc/$pid/limits"
"""


def vrrp_process(lab, node):
    """Return the pid of the VRRP process and its limit of real-time CPU time."""
    return lab.exec(node, ["sh", "-ec", VRRP]).stdout.split()


def test_a_reload_leaves_the_process_and_its_limit_as_they_were(healthy):
    """With a limit of zero the kernel kills it at the next check, and the virtual IP moves or is lost."""
    for node in labs.nodes(healthy, "haproxy"):
        before, since = vrrp_process(healthy, node), f"--since=@{time.time():.3f}"
        assert before[-3:-1] == ["50000", "100000"]
        healthy.exec(node, ["systemctl", "reload", "keepalived"])
        journal = ["journalctl", "-q", "-u", "keepalived", "-o", "cat", since]
        wait_until(
            lambda argv=journal, on=node: "Reload complete" in healthy.exec(on, argv).stdout,
            10,
            f"Keepalived on {node} to have read its configuration",
        )
        assert vrrp_process(healthy, node) == before


@contextlib.contextmanager
def without_edge(lab, node):
    """Stop the edge on a balancer and block its start for the duration of the block."""
    lab.exec(node, ["sh", "-c", "systemctl mask --runtime haproxy-edge; systemctl stop haproxy-edge"])
    try:
        yield
    finally:
        lab.exec(node, ["sh", "-c", "systemctl unmask --runtime haproxy-edge; systemctl start haproxy-edge"])


@pytest.fixture
def unhealed(healthy):
    """Only the test starts the edge again."""
    healthy.salt_run("fanatico.freeze", "a test stops the edge", "5m")
    yield healthy
    healthy.salt_run("fanatico.unfreeze")


def test_a_killed_edge_moves_no_address_and_ends_no_session(healthy):
    """It restarts before Keepalived reacts: all of its processes are killed repeatedly, under a writer."""
    (holder,) = labs.virtual_ip_holders(healthy)
    with labs.writing(healthy, "db1") as writer:
        before = sessions(healthy, holder)
        for _ in range(3):
            running = main_process(healthy, holder)
            healthy.exec(holder, ["systemctl", "kill", "--signal=KILL", "haproxy-edge"])
            wait_until(
                lambda old=running: main_process(healthy, holder) not in ("0", old), 10, "the edge to be back"
            )
        assert sessions(healthy, holder) == before
    assert writer["error"] is None
    assert labs.virtual_ip_holders(healthy) == [holder]
    labs.wait_healthy(healthy)


def main_process(lab, node):
    return lab.exec(node, ["systemctl", "show", "-P", "MainPID", "haproxy-edge"]).stdout.strip()


def sessions(lab, node):
    """The clients of the writer's sessions, from a database host."""
    address = lab.plan["nodes"]["db1"]["address"]
    found = lab.salt(node, "fanatico_haproxy.sessions")[node]
    return sorted(one["client"] for one in found if one["client"].startswith(f"{address}:"))


@pytest.mark.long
def test_the_address_goes_where_there_is_an_edge_and_stays_where_there_is_none(unhealed):
    (holder,) = labs.virtual_ip_holders(unhealed)
    (other,) = set(labs.nodes(unhealed, "haproxy")) - {holder}
    # The virtual IP does not move there until both of its processes have run for half a minute.
    wait_until(lambda: elsewhere(unhealed, holder), 40, f"{holder} to find {other} whole")
    with without_edge(unhealed, holder):
        wait_until(lambda: labs.virtual_ip_holders(unhealed) == [other], 15, f"the address on {other}")
        with without_edge(unhealed, other):
            with labs.writing(unhealed, "db1") as writer:
                wait_until(lambda: not local_edge(unhealed, other), 15, f"{other} to miss its own edge")
                wait_until(lambda: not elsewhere(unhealed, other), 15, f"{other} to find no other edge")
                assert labs.virtual_ip_holders(unhealed) == [other]
            assert writer["error"] is None
    wait_until(lambda: local_edge(unhealed, holder), 15, f"{holder} to have its edge again")
    # A balancer never takes the virtual IP back from a serving one.
    assert labs.virtual_ip_holders(unhealed) == [other]
    labs.wait_healthy(unhealed)


def local_edge(lab, node):
    return lab.salt(node, "fanatico_haproxy.backends")[node]["edge_here"]["up"]


def elsewhere(lab, node):
    return lab.salt(node, "fanatico_haproxy.backends")[node]["edge_elsewhere"]["up"]
