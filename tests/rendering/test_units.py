"""The units that a chain node promises are those that its states write, whatever its settings."""

import pytest

from tests.support import REPO, pillar
from tests.support.tree import Node

UNITS = "/etc/systemd/system/"


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("ws", ["native", "proxy"])
def test_promised_and_configured_are_the_same(tmp_path, ws, follow):
    site = {"rpc": {**pillar.SITE["rpc"], "ws": ws, "follow": follow}}
    root = pillar.build(tmp_path / "pillar", plan=REPO / "pillar" / "plan.sls", site=site)
    node = Node("rpc1", root, tmp_path / "node")
    written = {
        chunk["name"].removeprefix(UNITS)
        for chunk in node.compile("rpc.configured")
        if chunk["name"].startswith(UNITS) and chunk["fun"] == "managed"
    }
    assert written == set(node.functions["fanatico_unit.expected"]())
