"""The cluster-wide view."""

import json

from tests.support import labs


def status(lab):
    done = lab.salt_run("fanatico.status", "--out=json", check=False)
    return done.returncode, json.loads(done.stdout[done.stdout.index("{") :])


def test_a_healthy_cluster_is_ok(healthy):
    code, seen = status(healthy)
    assert code == 0
    assert seen["status"] == "ok", seen


def test_it_knows_who_leads(healthy):
    _, seen = status(healthy)
    assert labs.leader(healthy) in json.dumps(seen)
    assert labs.virtual_ip_holders(healthy)[0] in json.dumps(seen)


def test_a_person_gets_a_table(healthy):
    table = healthy.salt_run("fanatico.status").stdout
    assert all(name in table for name in healthy.plan["nodes"])
