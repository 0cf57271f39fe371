"""A watchdog that is required: refused where there is none, armed on the primary, shown in health.

The lab has no such device, and the kernel's softdog would reset the real machine. A named pipe replaces it, with
Patroni's own test driver, which writes its requests to the kernel into the pipe.
"""

import pytest

from tests.support import labs, wait_until

pytestmark = pytest.mark.healthy_is_enough

CONFIGURATION = ["cat", "/etc/patroni/patroni.yml"]
REQUIRED = {"patroni": {"watchdog": "required"}}
PIPE = """
    mkfifo -m 0600 /dev/watchdog
    chown postgres /dev/watchdog
    systemd-run -q --collect --unit=stand-in sh -c 'exec cat /dev/watchdog 9<>/dev/watchdog > /run/stand-in'
    sed -i 's/^  mode: automatic/  mode: required\\n  driver: testing/' /etc/patroni/patroni.yml
    systemctl reload patroni
"""
AWAY = """
    sed -i 's/^  mode: required/  mode: automatic/; /^  driver: testing/d' /etc/patroni/patroni.yml
    systemctl reload patroni
"""


@pytest.mark.long
def test_a_required_watchdog_is_refused_if_missing_armed_on_the_leader_and_in_health(healthy):
    leader = labs.leader(healthy)

    def check():
        return labs.health(healthy, leader)[leader]["checks"]["patroni.watchdog"]

    def asked():
        return healthy.exec(leader, ["cat", "/run/stand-in"]).stdout

    try:
        with labs.site(healthy, REQUIRED):
            healthy.salt(leader, "saltutil.refresh_pillar", "wait=True")
            assert "/dev/watchdog does not exist" in check()["detail"]
            before = healthy.exec(leader, CONFIGURATION).stdout
            said = " ".join(
                labs.failures(healthy.salt(leader, "state.apply", "patroni.configured"))[leader].values()
            )
            assert "/dev/watchdog does not exist" in said
            assert "patroni:watchdog_module" in said
            assert healthy.exec(leader, CONFIGURATION).stdout == before
            healthy.exec(leader, ["sh", "-ec", PIPE])
            wait_until(lambda: check()["value"] is True, 30, "the primary's watchdog to be armed")
            wait_until(lambda: asked().startswith("Ctimeout=15\n11"), 30, "it to be kept alive")
            healthy.exec(leader, ["sh", "-ec", AWAY])
            # Closed with the magic character, so that the kernel would not reset the machine.
            wait_until(lambda: asked().endswith("V"), 30, "it to be disarmed")
    finally:
        healthy.exec(
            leader, ["sh", "-c", f"{AWAY} systemctl stop stand-in; rm -f /dev/watchdog /run/stand-in"]
        )
        healthy.salt(leader, "saltutil.refresh_pillar", "wait=True")
        healthy.salt(leader, "state.apply", "patroni.watchdog")
    assert labs.leader(healthy) == leader
    labs.wait_healthy(healthy)
