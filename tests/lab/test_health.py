"""`salt '*' fanatico.health`: right verdicts, also when a machine is gone."""

import pytest

from tests.support import labs, wait_until

pytestmark = pytest.mark.healthy_is_enough


def test_everything_is_ok_and_as_promised(healthy):
    answers = labs.health(healthy)
    assert sorted(answers) == sorted(healthy.plan["nodes"])
    assert labs.ailing(answers) == {}
    for name, answer in answers.items():
        assert set(answer) == {"status", "roles", "checks", "took_ms"}
        assert answer["roles"] == healthy.plan["nodes"][name]["roles"]
        assert all(set(check) == {"status", "value", "detail", "hint"} for check in answer["checks"].values())


def test_the_exit_code_tells(lab):
    ask = ["salt", "rpc1", "fanatico.health", "--out=json"]
    assert lab.exec("salt", ask).returncode == 0
    lab.salt_run("fanatico.freeze", "a test stops a unit", "2m")
    try:
        lab.exec("rpc1", ["systemctl", "stop", "fanatico-rpc"])
        asked = lab.exec("salt", ask, check=False)
        assert asked.returncode != 0
        assert '"critical"' in asked.stdout
    finally:
        lab.exec("rpc1", ["systemctl", "start", "fanatico-rpc"])
        lab.salt_run("fanatico.unfreeze")


@pytest.fixture
def one_database_cut_off(healthy):
    """A replica whose cable is pulled."""
    replica = next(name for name in labs.nodes(healthy, "patroni") if name != labs.leader(healthy))
    healthy.unplug(replica)
    yield replica
    healthy.plug(replica)


def test_a_pulled_cable_does_not_silence_the_others(healthy, one_database_cut_off):
    def others_see_it():
        answers = labs.health(healthy)
        return answers if set(labs.ailing(answers)) & set(labs.nodes(healthy, "patroni")) else None

    answers = wait_until(others_see_it, 40, "the other database nodes to notice", interval=1)
    assert set(answers) == set(healthy.plan["nodes"]) - {one_database_cut_off}
    ailing = labs.ailing(answers)
    assert not set(ailing) & {*labs.nodes(healthy, "etcd"), *labs.nodes(healthy, "rpc")}, ailing
    assert {answers[name]["status"] for name in labs.nodes(healthy, "patroni") if name in answers} == {
        "degraded"
    }


def test_it_is_well_again_once_the_cable_is_back(healthy):
    labs.wait_healthy(healthy)
