"""The whole cluster is restored in place to a moment, looked at, undone, accepted; and restored on hosts that lost everything."""

import json

import pytest

from tests.support import labs

pytestmark = pytest.mark.healthy_is_enough
HOST, DATABASE = "ops1", "fanatico"


def orchestrate(lab, name, **pillar):
    arguments = [f"pillar={json.dumps(pillar)}"] if pillar else []
    done = lab.salt_run("state.orchestrate", f"orch.{name}", *arguments, check=False, timeout=500)
    return done.returncode, labs.said(done.stdout + done.stderr)


def state(lab):
    return json.loads(lab.salt_run("--out=json", "fanatico.restore_state").stdout)


def sql(lab, query):
    return lab.sql(labs.leader(lab), query, DATABASE).split()


def kept(lab):
    found = lab.salt(labs.nodes(lab, "patroni"), "fanatico_restore.local_state")
    return [path for one in found.values() for path in (*one["undo"], *one["undone"])]


@pytest.fixture
def moment(healthy):
    """A moment at which a table had its row; then the row was lost, and another was written."""
    sql(healthy, "CREATE TABLE IF NOT EXISTS kept (n int); TRUNCATE kept; INSERT INTO kept VALUES (1)")
    moment = healthy.sql(labs.leader(healthy), "SELECT clock_timestamp()").strip()
    sql(healthy, "DELETE FROM kept; INSERT INTO kept VALUES (2)")
    return moment


def look(lab, query):
    found = state(lab)
    assert found["phase"] == "looking"
    words = ["sh", "-c", f'{found["look"]} -XAtc "{query}"']
    return lab.exec(found["host"], words, check=False, timeout=30)


def test_a_restore_without_a_target_is_refused(healthy):
    code, printed = orchestrate(healthy, "restore")
    assert code == 1
    assert "Nothing was changed" in printed
    assert state(healthy) == {}


@pytest.mark.long
def test_a_moment_is_looked_at_and_undone(healthy, moment):
    code, printed = orchestrate(healthy, "restore", target=moment, look=True)
    assert code == 0, printed[-4000:]
    assert look(healthy, "SELECT n FROM kept").stdout == "1\n"
    assert look(healthy, "INSERT INTO kept VALUES (3)").returncode != 0, "a person only reads"
    primary = json.loads(healthy.salt_run("--out=json", "fanatico.status", check=False).stdout)["checks"][
        "primary"
    ]
    assert (primary["status"], primary["hint"]) == ("critical", "salt-run fanatico.restore_state")
    code, printed = orchestrate(healthy, "deploy")
    assert code == 1
    assert "orch.restore_undo" in printed
    code, printed = orchestrate(healthy, "restore_undo")
    assert code == 0, printed[-4000:]
    assert sql(healthy, "SELECT n FROM kept") == ["2"]
    assert (state(healthy), kept(healthy)) == ({}, [])
    labs.wait_healthy(healthy)


def test_a_restored_cluster_serves_and_is_undone_and_accepted(healthy, moment):
    code, printed = orchestrate(healthy, "restore", target=moment)
    assert code == 0, printed[-4000:]
    assert sql(healthy, "SELECT n FROM kept") == ["1"]
    assert state(healthy)["phase"] == "served"
    assert len(kept(healthy)) == 3
    sql(healthy, "INSERT INTO kept VALUES (4)")
    code, printed = orchestrate(healthy, "restore_undo")
    assert code == 0, printed[-4000:]
    assert sql(healthy, "SELECT n FROM kept") == ["2"], "exactly what was there before"
    assert healthy.salt(HOST, "fanatico_backup.check") == {HOST: ""}, "the repository takes the timeline"
    code, printed = orchestrate(healthy, "restore_accept")
    assert code == 0, printed[-4000:]
    assert (state(healthy), kept(healthy)) == ({}, [])
    labs.wait_healthy(healthy)


@pytest.mark.long
def test_what_was_looked_at_is_accepted(healthy, moment):
    assert orchestrate(healthy, "restore", target=moment, look=True)[0] == 0
    host = state(healthy)["host"]
    healthy.power_off(
        host
    )  # PostgreSQL, and Patroni, must not come back by themselves as if nothing were open
    healthy.power_on(host)
    labs.wait_answer(healthy, host, 90)
    code, printed = orchestrate(healthy, "restore_accept")
    assert code == 0, printed[-4000:]
    assert sql(healthy, "SELECT n FROM kept") == ["1"]
    assert kept(healthy) == []
    labs.wait_healthy(healthy)


@pytest.mark.long
def test_a_restore_whose_master_is_killed_goes_on(healthy, moment):
    command = f"salt-run state.orchestrate orch.restore pillar='{json.dumps({'target': moment})}'"
    healthy.exec(healthy.master, ["sh", "-c", f"timeout -s KILL 20 {command}"], check=False, timeout=60)
    assert state(healthy)["phase"] in ("begun", "serving")
    code, printed = orchestrate(healthy, "restore", target=moment)
    assert code == 0, printed[-4000:]
    assert sql(healthy, "SELECT n FROM kept") == ["1"]
    assert orchestrate(healthy, "restore_accept")[0] == 0
    labs.wait_healthy(healthy)


@pytest.mark.long
def test_all_database_hosts_lost_everything(healthy, moment):
    nodes = labs.nodes(healthy, "patroni")
    healthy.salt(HOST, "fanatico_backup.check")
    wipe = (
        "systemctl stop patroni; pkill -9 -x postgres; rm -rf /var/lib/postgresql/17 /etc/patroni/patroni.yml"
    )
    for node in nodes:
        healthy.exec(node, ["sh", "-c", wipe], check=False)
    code, printed = orchestrate(healthy, "deploy")
    assert code == 1
    assert "orch.restore" in printed
    code, printed = orchestrate(healthy, "restore", target="latest")
    assert code == 0, printed[-4000:]
    assert sql(healthy, "SELECT n FROM kept") == ["2"]
    assert orchestrate(healthy, "restore_undo")[0] == 1, "there was no data before"
    assert orchestrate(healthy, "restore_accept")[0] == 0
    code, printed = orchestrate(healthy, "deploy")
    assert code == 0, printed[-4000:]
    labs.wait_healthy(healthy)
