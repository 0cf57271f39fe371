"""Keepalived through what is done to it in order."""

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
