"""Cures of HAProxy without a configuration, of a hung Keepalived, and of a virtual IP on no balancer or on two."""

import pytest

from tests.support import faults, labs, wait_until

pytestmark = [pytest.mark.healthy_is_enough, pytest.mark.usefixtures("untouched_budget")]


@pytest.mark.parametrize(("unit", "path"), [("haproxy", "haproxy.cfg"), ("haproxy-edge", "edge.cfg")])
def test_haproxy_without_a_valid_configuration_gets_the_trees(healthy, unit, path):
    node, news = labs.nodes(healthy, "haproxy")[-1], labs.News(healthy)
    healthy.exec(node, ["sh", "-c", f"echo nonsense >/etc/haproxy/{path}; systemctl stop {unit}"])
    news.wait("healed", node, "haproxy-unconfigured", 60)
    assert faults.active(healthy, node, unit)
    assert "nonsense" not in healthy.exec(node, ["cat", f"/etc/haproxy/{path}"]).stdout


def test_a_virtual_ip_without_a_holder_is_taken_again(healthy):
    """Keepalived hangs on both balancers and the virtual IP is gone: each looks like a healthy standby."""
    balancers, news = labs.nodes(healthy, "haproxy"), labs.News(healthy)
    address = healthy.plan["virtual_ip"]["address"]
    (holder,) = labs.virtual_ip_holders(healthy)
    for node in balancers:
        faults.freeze_all(healthy, node, "keepalived")
    faults.change_address(healthy, holder, "del", address)
    for node in balancers:  # whichever symptom is detected first
        news.wait("healed", node, None, 60)
    labs.wait_healthy(healthy)
    assert len(labs.virtual_ip_holders(healthy)) == 1


def test_an_address_that_two_hold_is_settled(healthy):
    """Keepalived resolves it, or the cure does."""
    holders = labs.virtual_ip_holders(healthy)
    (spare,) = set(labs.nodes(healthy, "haproxy")) - set(holders)
    address = healthy.plan["virtual_ip"]["address"]
    faults.change_address(healthy, spare, "add", address)
    assert len(labs.virtual_ip_holders(healthy)) == 2
    healthy.salt_run("fanatico.reconcile")
    healthy.salt_run("fanatico.reconcile")
    wait_until(lambda: len(labs.virtual_ip_holders(healthy)) == 1, 10, "one of the two to hold the address")
    labs.wait_healthy(healthy)


def test_a_keepalived_that_hangs_is_restarted(healthy):
    """The other balancer takes the virtual IP: both hold it until Keepalived on the first is restarted.

    Whichever symptom is detected first: the beacon's, or the duplicate virtual IP, which the master detects.
    """
    (holder,), news = labs.virtual_ip_holders(healthy), labs.News(healthy)
    faults.freeze_all(healthy, holder, "keepalived")
    entry = news.wait("healed", holder, None, 60)
    assert entry["what"] in ("keepalived-hung", "vip-duplicate")
    assert entry["what"] != "keepalived-hung" or "no check of HAProxy" in entry["reason"]
    wait_until(lambda: len(labs.virtual_ip_holders(healthy)) == 1, 10, "one of the two to hold the address")
    labs.wait_healthy(healthy)


def test_an_address_that_was_taken_away_comes_back(healthy):
    """Keepalived takes it back, or the cure does."""
    (node,) = labs.virtual_ip_holders(healthy)
    faults.change_address(healthy, node, "del", healthy.plan["virtual_ip"]["address"])
    wait_until(lambda: len(labs.virtual_ip_holders(healthy)) == 1, 40, "the address to be held again")
    labs.wait_healthy(healthy)
