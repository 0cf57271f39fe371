"""The effect of a deploy with a changed pillar, and with a changed unit, on a running infrastructure."""

import pytest

from tests.support import labs

# A whole deploy. In short: test_deploy_again and test_output have one each, test_settings changes the pillar.
pytestmark = [pytest.mark.healthy_is_enough, pytest.mark.long]

UNIT = "/etc/systemd/system/keepalived.service.d/fanatico.conf"
ELECTION = (
    1_000_000  # microseconds: three advertisements of 0.3 s, within which no balancer may hold the virtual IP
)
CHANGED = {"plan": {"timing": {"haproxy": {"inter_ms": 1500}}}}


def since(lab, node, moment):
    """The microsecond, of a clock that all machines share, at which Keepalived last became active, or inactive."""
    shown = lab.exec(node, ["systemctl", "show", "-P", f"{moment}EnterTimestampMonotonic", "keepalived"])
    return int(shown.stdout)


@pytest.fixture(scope="module")
def before(lab):
    """Return when Keepalived was last down on each balancer, in a deploy that changes its unit on both, and the pillar."""
    labs.wait_healthy(lab)
    balancers = labs.nodes(lab, "haproxy")
    for node in balancers:
        lab.exec(node, ["sed", "-i", "1i # of an older release", UNIT])
    down = {node: since(lab, node, "Inactive") for node in balancers}
    try:
        with labs.site(lab, CHANGED):
            code, _, printed = labs.deploy(lab)
            assert code == 0, printed[-4000:]
            yield down
    finally:
        lab.salt("*", "saltutil.refresh_pillar", "wait=True")
        assert labs.failures(labs.highstate(lab, "haproxy*")) == {}


def test_every_minion_has_the_new_pillar(lab, before):
    """The pillar of health checks, beacons and cures, not that of state runs, which compile their own."""
    timing = lab.salt("*", "fanatico_plan.timing")
    assert {node: one["haproxy"]["inter_ms"] for node, one in timing.items()} == dict.fromkeys(
        labs.nodes(lab), 1500
    )


def test_a_changed_unit_restarts_one_balancer_after_the_other(lab, before):
    down = {node: since(lab, node, "Inactive") for node in before}
    assert [node for node in before if down[node] == before[node]] == [], "not restarted"
    first, second = before
    assert since(lab, first, "Active") + ELECTION < down[second], "both were away at once"
