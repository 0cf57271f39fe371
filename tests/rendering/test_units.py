"""The expected units of a chain node are those that its states write, whatever its settings."""

import pytest

import fanatico_guard
from fanatico_components import EVERY
from tests.support import REPO, pillar
from tests.support.tree import Node

UNITS = "/etc/systemd/system/"


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("ws", ["native", "proxy"])
def test_expected_and_configured_units_are_the_same(tmp_path, ws, follow):
    site = {"rpc": {**pillar.SITE["rpc"], "ws": ws, "follow": follow}}
    root = pillar.build(tmp_path / "pillar", plan=REPO / "pillar" / "plan.sls", site=site)
    node = Node("rpc1", root, tmp_path / "node")
    written = {
        chunk["name"].removeprefix(UNITS)
        for chunk in node.compile("rpc.configured")
        if chunk["name"].startswith(UNITS) and chunk["fun"] == "managed"
    }
    promised = set(node.functions["fanatico_unit.expected"]())
    assert written == promised - set(fanatico_guard.units_of(EVERY))
    assert promised >= set(fanatico_guard.units_of(EVERY))


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, {"absent"}),
        ({"watchdog": "required"}, {"managed", "absent", "watchdog_usable"}),
        ({"watchdog": "required", "watchdog_module": "softdog"}, {"managed", "watchdog_usable"}),
    ],
)
def test_a_watchdog_is_checked_before_it_is_required(tmp_path, settings, wanted):
    root = pillar.build(
        tmp_path / "pillar", plan=REPO / "pillar" / "plan.sls", site={**pillar.SITE, "patroni": settings}
    )
    chunks = Node("db1", root, tmp_path / "node").compile("patroni.configured")
    ours = [chunk for chunk in chunks if chunk["__sls__"] == "patroni.watchdog" and chunk["fun"] != "run"]
    assert {chunk["fun"] for chunk in ours} == wanted
    (patroni,) = (chunk for chunk in chunks if chunk["name"] == "/etc/patroni/patroni.yml")
    before = {chunk["__id__"] for chunk in chunks if chunk["order"] < patroni["order"]}
    assert {chunk["__id__"] for chunk in ours} <= before
    assert {"sls": "patroni.watchdog"} in patroni["require"]
