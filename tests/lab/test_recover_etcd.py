"""All of etcd's data is lost: it is rebuilt from the primary. Under load: the drills etcd-*-wiped."""

import json

import pytest

from lab.drill.run import Scene, password
from lab.drill.steps import elections, power, wiped
from tests.support import labs

pytestmark = pytest.mark.healthy_is_enough


def recover(lab, discard=()):
    pillar = [f"pillar={json.dumps({'discard': list(discard)})}"] if discard else []
    done = lab.salt_run("state.orchestrate", "orch.recover_etcd", *pillar, check=False)
    return done.returncode, labs.said(done.stdout + done.stderr)


def cluster_check(lab, name):
    done = lab.salt_run("--out=json", "fanatico.status", check=False)
    return json.loads(done.stdout)["checks"][name]


def cluster_ids(lab):
    statuses = lab.salt("etcd1", "fanatico_etcd.status")["etcd1"]
    return {status["cluster_id"] for status in statuses.values()}


def admitted(lab):
    return set(map(str, lab.salt(labs.nodes(lab, "etcd"), "fanatico_etcd.clients").values()))


def identity(lab):
    return lab.sql(labs.leader(lab), "SELECT system_identifier FROM pg_control_system()").strip()


@pytest.fixture
def scene(healthy):
    return Scene(healthy, password(healthy))


@pytest.mark.long
def test_an_etcd_that_serves_is_not_rebuilt(healthy):
    before = cluster_ids(healthy)
    code, printed = recover(healthy, ["etcd1"])
    assert code == 0, printed
    assert "nothing to rebuild" in labs.history(healthy, 1)[0]["reason"]
    assert cluster_ids(healthy) == before


def test_all_data_is_lost_while_the_primary_writes(healthy, scene):
    before, leader, cluster = cluster_ids(healthy), labs.leader(healthy), identity(healthy)
    elections(5)(scene)  # Patroni compares the raft term of an etcd with the same cluster id
    with labs.writing(healthy, leader) as writer:
        wiped("etcd")(scene)
        check = cluster_check(healthy, "etcd")
        assert check["status"] == "critical"
        assert check["hint"] == "salt-run state.orchestrate orch.recover_etcd"
        refused = healthy.salt_run("fanatico.etcd_bootstrap", check=False)
        assert refused.returncode == 1
        assert "orch.recover_etcd" in labs.said(refused.stdout + refused.stderr)
        code, printed = recover(healthy)
    assert code == 0, printed[-4000:]
    labs.assert_not_cut(healthy, writer)
    assert (labs.leader(healthy), identity(healthy)) == (leader, cluster)
    assert admitted(healthy) == {"None"}
    (after,) = cluster_ids(healthy)
    assert after not in before
    labs.wait_healthy(healthy)


def test_an_interrupted_recovery_is_shown_and_finished(healthy):
    etcd = labs.nodes(healthy, "etcd")
    healthy.salt(etcd, "fanatico_etcd.restrict_clients", f"[{labs.leader(healthy)}]")
    check = cluster_check(healthy, "etcd")
    assert (check["status"], check["hint"]) == ("critical", "salt-run state.orchestrate orch.recover_etcd")
    before = cluster_ids(healthy)
    code, printed = recover(healthy)
    assert code == 0, printed[-4000:]
    assert cluster_ids(healthy) == before, "a quorum is kept"
    assert admitted(healthy) == {"None"}
    labs.wait_healthy(healthy)


@pytest.mark.long
def test_no_client_is_admitted_after_a_reboot_in_between(healthy):
    etcd = labs.nodes(healthy, "etcd")
    replica = next(node for node in labs.nodes(healthy, "patroni") if node != labs.leader(healthy))
    address = healthy.plan["nodes"]["etcd1"]["address"]
    reached = ["timeout", "2", "bash", "-c", f"exec 3<>/dev/tcp/{address}/2379"]
    assert healthy.exec(replica, reached, check=False).returncode == 0
    healthy.salt(etcd, "fanatico_etcd.restrict_clients")
    healthy.power_off("etcd1")
    healthy.power_on("etcd1")
    healthy.machine("etcd1").wait_booted()
    assert healthy.exec(replica, reached, check=False).returncode != 0
    code, printed = recover(healthy)
    assert code == 0, printed[-4000:]
    assert healthy.exec(replica, reached, check=False).returncode == 0
    labs.wait_healthy(healthy)


@pytest.mark.long
def test_two_of_three_members_and_all_databases_are_lost_at_once(healthy, scene):
    """PostgreSQL is down everywhere: the host with the newest data leads, and nothing that was acknowledged is lost."""
    leader = labs.leader(healthy)
    healthy.sql(
        leader,
        "CREATE TABLE IF NOT EXISTS recovered (n int); INSERT INTO recovered VALUES (1), (2)",
        "fanatico",
    )
    cluster = identity(healthy)
    wiped("etcd_majority")(scene)
    for part in ("databases", "etcd"):
        power(part, on=False)(scene)
    hosts = [*scene.struck["etcd"], *scene.struck["databases"]]
    for node in hosts:
        healthy.power_on(node)
    for node in hosts:  # the start of etcd waits for a quorum, so the boot of its host does not end
        labs.wait_answer(healthy, node, 90)
    code, printed = recover(healthy)
    assert code == 0, printed[-4000:]
    labs.wait_healthy(healthy)
    now = labs.leader(healthy)
    assert identity(healthy) == cluster
    assert healthy.sql(now, "SELECT sum(n) FROM recovered", "fanatico").strip() == "3"
    healthy.sql(now, "DROP TABLE recovered", "fanatico")
