"""nftables accepts the rules of every node of every plan."""

import pytest
import yaml

import fanatico_firewall
from tests.rendering.conftest import PLANS
from tests.support import pillar

SHIPPED = pillar.shipped("firewall")
SETTINGS = {
    **SHIPPED,
    "admin": ["203.0.113.0/24", "203.0.113.7"],
    "clients": ["10.0.0.0/16"],
    "monitoring": ["198.51.100.0/25"],
    "allow": [
        {"name": "p2p", "roles": ["rpc"], "port": 30303, "from": ["0.0.0.0/0"]},
        {"name": "discovery", "roles": ["rpc"], "protocol": "udp", "port": 30303, "from": ["0.0.0.0/0"]},
    ],
}


@pytest.mark.parametrize("settings", [SHIPPED, SETTINGS], ids=["plain", "all settings"])
@pytest.mark.parametrize("name", PLANS)
def test_the_rules_load(machine, name, settings):
    plan = yaml.safe_load(PLANS[name].read_text())["plan"]
    text = "".join(fanatico_firewall.ruleset(plan, settings, node) for node in plan["nodes"])
    checked = machine.run("nft", "-f", "/mnt/text", text=text)
    assert checked.returncode == 0, checked.stdout


def test_invalid_rules_do_not_load(machine):
    assert machine.run("nft", "-c", "-f", "/mnt/text", text="table inet x { nonsense }").returncode != 0
