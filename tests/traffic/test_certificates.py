"""HAProxy replaces its certificate at runtime and reports a failure; see files/certificates.py."""

import json
import re

import pytest

from tests.rendering.conftest import SITE, put_beside
from tests.support import REPO, pki

FOLDER = "/etc/haproxy/pki"


@pytest.fixture
def exchanged(machine, with_site):
    """Return a function that writes certificate files for HAProxy, step by step, and loads them at runtime."""

    def run(*steps):
        minion = with_site("haproxy1", SITE)
        put_beside(machine, minion)
        for path in [REPO / "_modules/fanatico_haproxy.py", *(REPO / "_utils").glob("*.py")]:
            machine.put(f"/root/{path.name}", path.read_text())
        machine.put("/root/certificates.py", (REPO / "tests/traffic/files/certificates.py").read_text())
        plan = minion.pillar["plan"]
        task = {
            "addresses": [plan["virtual_ip"]["address"], minion.functions["fanatico_plan.address"]()],
            "port": plan["ports"]["haproxy_stats"],
            "folder": FOLDER,
            "steps": steps,
        }
        done = machine.run("/opt/salt/bin/python", "/root/certificates.py", text=json.dumps(task))
        assert done.returncode == 0, done.stdout
        return json.loads(done.stdout.splitlines()[-1])

    return run


def same(shown, certificate):
    return re.sub(r"\s", "", shown) == re.sub(r"\s", "", certificate)


def test_a_certificate_is_exchanged_under_the_process_that_has_the_sessions(exchanged):
    certificate, key = pki.Authority().issue()
    before, after = exchanged({"edge.crt": certificate, "edge.key": key})
    assert before["stale"] == []
    assert after["took"] == {f"{FOLDER}/edge.crt": ""}
    assert same(after["shown"], certificate)
    assert after["stale"] == []
    assert after["process"] == before["process"]


def test_a_pair_that_does_not_fit_is_not_taken_and_a_right_one_is_afterwards(exchanged):
    (certificate, key), (_, other) = (pki.Authority().issue() for _ in range(2))
    before, wrong, right = exchanged(
        {"edge.crt": certificate, "edge.key": other}, {"edge.crt": certificate, "edge.key": key}
    )
    assert "inconsistencies" in wrong["took"][f"{FOLDER}/edge.crt"]
    assert wrong["shown"] == before["shown"]
    assert wrong["stale"] == [f"{FOLDER}/edge.crt"]
    assert same(right["shown"], certificate)


def test_authorities_that_only_servers_name_are_not_taken_for_exchanged(exchanged):
    """HAProxy 3.0.11 would report success, list the new files, and continue with the old ones."""
    path = f"{FOLDER}/service-ca.crt"
    _, after = exchanged({"service-ca.crt": pki.Authority().certificate})
    assert after["took"] == {path: "only servers name it"}
    assert after["stale"] == [path]
