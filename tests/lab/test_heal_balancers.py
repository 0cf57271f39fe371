"""HAProxy without a configuration, Keepalived that hangs, a virtual IP that nobody or two hold."""

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


def test_an_address_that_nobody_holds_is_taken_again(healthy):
    """Keepalived hangs on both balancers, and the address is gone: each looks like a well one that stands by."""
    balancers, news = labs.nodes(healthy, "haproxy"), labs.News(healthy)
    address = healthy.plan["virtual_ip"]["address"]
    (holder,) = labs.virtual_ip_holders(healthy)
    for node in balancers:
        faults.freeze_all(healthy, node, "keepalived")
    faults.change_address(healthy, holder, "del", address)
    for node in balancers:  # whichever of the two symptoms is seen first
        news.wait("healed", node, None, 60)
    labs.wait_healthy(healthy)
    assert len(labs.virtual_ip_holders(healthy)) == 1


def test_an_address_that_two_hold_is_settled(healthy):
    """Keepalived settles it, or the cure does."""
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
    """The other balancer takes the virtual IP meanwhile: both hold it until the first is restarted.

    Whichever of the two symptoms is seen first: the beacon's, or that two hold the address, which the master looks for.
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
