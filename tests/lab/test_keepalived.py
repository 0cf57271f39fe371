"""Keepalived through what is done to it in order."""

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
    """Return what process speaks VRRP, and the limit of its time without a pause."""
    return lab.exec(node, ["sh", "-ec", VRRP]).stdout.split()


def test_a_reload_leaves_the_process_and_its_limit_as_they_were(healthy):
    """With a limit of nothing the kernel ends it as soon as it looks, and the address moves or is nowhere."""
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
    """The edge stopped on a balancer, and kept from being started, for as long as the block lasts."""
    lab.exec(node, ["sh", "-c", "systemctl mask --runtime haproxy-edge; systemctl stop haproxy-edge"])
    try:
        yield
    finally:
        lab.exec(node, ["sh", "-c", "systemctl unmask --runtime haproxy-edge; systemctl start haproxy-edge"])


@pytest.fixture
def unhealed(healthy):
    """Nobody starts the edge again but the test."""
    healthy.salt_run("fanatico.freeze", "a test stops the edge", "5m")
    yield healthy
    healthy.salt_run("fanatico.unfreeze")


def test_a_killed_edge_moves_no_address_and_ends_no_session(healthy):
    """It is back before Keepalived needs to know: all of its processes are killed, again and again, under a writer."""
    (holder,) = labs.virtual_ip_holders(healthy)
    with labs.writing(healthy, "db1") as told:
        before = sessions(healthy, holder)
        for _ in range(3):
            running = main_process(healthy, holder)
            healthy.exec(holder, ["systemctl", "kill", "--signal=KILL", "haproxy-edge"])
            wait_until(
                lambda old=running: main_process(healthy, holder) not in ("0", old), 10, "the edge to be back"
            )
        assert sessions(healthy, holder) == before
    assert told["error"] is None
    assert labs.virtual_ip_holders(healthy) == [holder]
    labs.wait_healthy(healthy)


def main_process(lab, node):
    return lab.exec(node, ["systemctl", "show", "-P", "MainPID", "haproxy-edge"]).stdout.strip()


def sessions(lab, node):
    """The clients of the writer's sessions: those from a database host."""
    address = lab.plan["nodes"]["db1"]["address"]
    found = lab.salt(node, "fanatico_haproxy.sessions")[node]
    return sorted(one["client"] for one in found if one["client"].startswith(f"{address}:"))


@pytest.mark.long
def test_the_address_goes_where_there_is_an_edge_and_stays_where_there_is_none(unhealed):
    (holder,) = labs.virtual_ip_holders(unhealed)
    (other,) = set(labs.nodes(unhealed, "haproxy")) - {holder}
    # It is no place to move to before both of its processes have been there for half a minute.
    wait_until(lambda: elsewhere(unhealed, holder), 40, f"{holder} to find {other} whole")
    with without_edge(unhealed, holder):
        wait_until(lambda: labs.virtual_ip_holders(unhealed) == [other], 15, f"the address on {other}")
        with without_edge(unhealed, other):
            with labs.writing(unhealed, "db1") as told:
                wait_until(lambda: not local_edge(unhealed, other), 15, f"{other} to miss its own edge")
                wait_until(lambda: not elsewhere(unhealed, other), 15, f"{other} to find no other edge")
                assert labs.virtual_ip_holders(unhealed) == [other]
            assert told["error"] is None
    wait_until(lambda: local_edge(unhealed, holder), 15, f"{holder} to have its edge again")
    # Nobody takes the address back from who serves.
    assert labs.virtual_ip_holders(unhealed) == [other]
    labs.wait_healthy(unhealed)


def local_edge(lab, node):
    return lab.salt(node, "fanatico_haproxy.backends")[node]["edge_here"]["up"]


def elsewhere(lab, node):
    return lab.salt(node, "fanatico_haproxy.backends")[node]["edge_elsewhere"]["up"]
