"""What a deploy of a changed pillar does to a running infrastructure."""

from tests.support import labs

UNIT = "/etc/systemd/system/keepalived.service.d/fanatico.conf"
CHANGED = {"plan": {"timing": {"haproxy": {"inter_ms": 1500}}}}


def since(lab, node, moment):
    """The microsecond, of a clock that all machines share, at which Keepalived last became active, or inactive."""
    shown = lab.exec(node, ["systemctl", "show", "-P", f"{moment}EnterTimestampMonotonic", "keepalived"])
    return int(shown.stdout)


def test_a_changed_unit_restarts_one_balancer_after_the_other_and_every_minion_has_the_new_pillar(healthy):
    first, second = labs.nodes(healthy, "haproxy")
    for node in (first, second):
        healthy.exec(node, ["sed", "-i", "1i # of an older release", UNIT])
    before = since(healthy, second, "Inactive")
    try:
        with labs.site(healthy, CHANGED):
            code, _, printed = labs.deploy(healthy)
            assert code == 0, printed[-4000:]
            # Not its state runs, which compile their own: what a health check, a beacon or a cure goes by.
            timing = healthy.salt("*", "fanatico_plan.timing")
            assert {node: one["haproxy"]["inter_ms"] for node, one in timing.items()} == dict.fromkeys(
                labs.nodes(healthy), 1500
            )
        assert before < since(healthy, second, "Inactive"), "it was not restarted"
        assert since(healthy, first, "Active") < since(healthy, second, "Inactive"), "both were away at once"
    finally:
        healthy.salt("*", "saltutil.refresh_pillar", "wait=True")
        labs.highstate(healthy, "haproxy*")
