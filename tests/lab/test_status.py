"""`salt-run fanatico.status`: the cluster-wide view."""

import json

import pytest

from tests.support import labs

pytestmark = pytest.mark.reads_only


@pytest.fixture(scope="module")
def asked(lab):
    """(exit code, data) of the status of a healthy cluster."""
    labs.wait_healthy(lab)
    done = lab.salt_run("fanatico.status", "--out=json", check=False)
    return done.returncode, json.loads(done.stdout[done.stdout.index("{") :])


def test_a_healthy_cluster_is_ok(asked):
    code, seen = asked
    assert (code, seen["status"]) == (0, "ok"), seen


def test_it_knows_who_leads_and_who_holds_the_address(asked, lab):
    checks = json.dumps(asked[1]["checks"])
    assert labs.leader(lab) in checks
    assert labs.virtual_ip_holders(lab)[0] in checks


def test_it_tells_of_every_node(asked, lab):
    assert sorted(asked[1]["nodes"]) == sorted(lab.plan["nodes"])


def test_a_person_gets_a_table(lab):
    table = lab.salt_run("fanatico.status").stdout
    assert all(name in table for name in lab.plan["nodes"])
