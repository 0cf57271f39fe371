"""HAProxy with the tree's configuration, when a database's machine disappears or is unhealthy. Patroni and PostgreSQL are
fakes (files/databases.py), so that many clients connect at the moment when HAProxy notices it."""

import json

import pytest

from tests.rendering.conftest import SITE, put_beside
from tests.support import REPO, pki


@pytest.fixture
def traffic(machine, with_site):
    """Return a function that causes a fault of a node under the clients of a port; see files/databases.py."""

    def run(frontend, which, unwell=False, reloaded=False, mute=False, **haproxy):
        minion = with_site("haproxy1", {**SITE, "haproxy": haproxy})
        put_beside(machine, minion)
        plan, nodes = minion.pillar["plan"], minion.functions["fanatico_plan.addresses"]("patroni")
        authority = pki.Authority()
        machine.put("/etc/haproxy/pki/service-ca.crt", authority.certificate)
        for name in nodes:
            machine.put(f"/pki/{name}.pem", "".join(authority.issue(name)))
        machine.put("/databases.py", (REPO / "tests/traffic/files/databases.py").read_text())
        task = {
            "addresses": [plan["virtual_ip"]["address"], minion.functions["fanatico_plan.address"]()],
            "nodes": nodes,
            "primary": "db1",
            "which": which,
            "unwell": unwell,
            "reloaded": reloaded,
            "mute": mute,
            "rest": plan["ports"]["patroni_rest"],
            "postgres": plan["ports"]["postgres"],
            "to": plan["virtual_ip"]["address"],
            "port": plan["ports"][frontend],
            "frontend": frontend,
        }
        done = machine.run("python3", "/databases.py", text=json.dumps(task))
        assert done.returncode == 0, done.stdout
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.mark.parametrize(("frontend", "which"), [("postgres_primary", "db1"), ("postgres_replica", "db2")])
def test_sessions_with_a_machine_that_vanishes_are_ended_and_none_is_kept(traffic, frontend, which):
    seen = traffic(frontend, which)
    assert seen["ended"]
    assert set(seen["after"]) == ({"db3"} if frontend == "postgres_replica" else set())
    assert seen["left"] == []


@pytest.mark.parametrize("cut", [True, False])
def test_those_of_a_replica_that_is_unwell_are_ended_unless_that_is_not_wanted(traffic, cut):
    seen = traffic("postgres_replica", "db2", unwell=True, cut_replica_sessions=cut)
    assert bool(seen["ended"]) is cut
    assert seen["answered"] == (False if cut else "db2")
    assert set(seen["after"]) == {"db3"}
    assert seen["left"] == []


@pytest.mark.parametrize(("frontend", "which"), [("postgres_primary", "db1"), ("postgres_replica", "db2")])
def test_sessions_from_before_a_reload_are_ended_as_those_after_it(traffic, frontend, which):
    """The old process keeps the sessions but runs no health checks; it asks the serving process."""
    seen = traffic(frontend, which, reloaded=True)
    assert seen["ended"]
    assert seen["kept"] == ("db3" if frontend == "postgres_replica" else None)
    assert seen["left"] == []
    assert seen["workers"] == 1, "a process without sessions leaves"


def test_sessions_from_before_a_reload_stay_where_the_process_that_serves_does_not_answer(traffic):
    seen = traffic("postgres_replica", "db2", reloaded=True, mute=True)
    assert (seen["ended"], seen["kept"]) == (None, "db3")
