"""The sandboxes of our own units, as systemd rates them. The other units: tests/lab/test_hardening.py."""

import re

import pytest

from tests.support import REPO, exposure

UNITS = "/etc/systemd/system/"
OF = {
    "salt": ("master.configured", "minion.configured", "minion.boot", "firewall.installed"),
    "rpc1": ("rpc.configured",),
}


@pytest.fixture(params=OF)
def services(request, make_node):
    """{unit: text} of the services that the states of a node write completely."""
    node = make_node("default", request.param)
    found = {}
    for chunk in node.compile(*OF[request.param]):
        path = chunk["name"]
        if (
            chunk["state"] == "file"
            and path.startswith(UNITS)
            and path.endswith(".service")
            and "source" in chunk
        ):
            whole = not chunk.get("template")
            found[path.removeprefix(UNITS)] = (
                node.functions["cp.get_file_str"](chunk["source"]) if whole else node.render(chunk)
            )
    return found


def test_no_unit_is_more_exposed_than_its_limit(services, machine):
    assert len(services) >= 4
    for unit, text in services.items():
        # A unit that has not been started has no program that is looked for.
        machine.put(UNITS + unit, text)
        threshold = f"--threshold={round(exposure.most(unit) * 10)}"
        judged = machine.run(
            "systemd-analyze", "security", "--offline=yes", "--no-pager", threshold, UNITS + unit
        )
        assert "Overall exposure level" in judged.stdout, judged.stdout
        assert judged.returncode == 0, (unit, judged.stdout.splitlines()[-1])


def test_a_higher_exposure_is_detected(machine):
    machine.put(UNITS + "open.service", "[Service]\nExecStart=/bin/true\n")
    judged = machine.run(
        "systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=30", UNITS + "open.service"
    )
    assert judged.returncode != 0


def test_the_documentation_names_the_remaining_exposure():
    text = (REPO / "docs" / "security.md").read_text()
    named = dict(re.findall(r"^\| `([\w-]+\.service)` \| ([\d.]+) \|", text, re.MULTILINE))
    assert {unit: float(level) for unit, level in named.items()} == exposure.ABOVE
