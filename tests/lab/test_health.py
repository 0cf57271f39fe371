"""`salt '*' fanatico.health`: correct results, also when a machine is lost."""

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


def test_a_minion_that_is_gone_does_not_silence_the_others(healthy):
    healthy.salt_run("fanatico.freeze", "a test stops a minion", "2m")
    healthy.exec("rpc3", ["systemctl", "stop", "salt-minion"])
    try:
        answers = labs.health(healthy)
    finally:
        healthy.exec("rpc3", ["systemctl", "start", "--no-block", "salt-minion"])
        healthy.salt_run("fanatico.unfreeze")
    assert set(answers) == set(healthy.plan["nodes"]) - {"rpc3"}
    assert labs.ailing(answers) == {}
    labs.wait_healthy(healthy)


# The isolated node, a node that must report it, and one that is not affected.
@pytest.mark.long
@pytest.mark.parametrize(
    ("role", "seen_by", "unconcerned"),
    [("rpc", "haproxy", ("etcd", "patroni")), ("patroni", "patroni", ("etcd", "rpc"))],
)
def test_a_pulled_cable_does_not_silence_the_others(healthy, role, seen_by, unconcerned):
    cut_off = next(name for name in labs.nodes(healthy, role)[1:] if name != labs.leader(healthy))
    watching = set(labs.nodes(healthy, seen_by)) - {cut_off}

    def others_see_it():
        answers = labs.health(healthy)
        return answers if watching <= set(labs.ailing(answers)) else None

    healthy.unplug(cut_off)
    try:
        answers = wait_until(others_see_it, 40, f"the nodes with the role {seen_by} to notice", interval=1)
    finally:
        healthy.plug(cut_off)
    assert set(answers) == set(healthy.plan["nodes"]) - {cut_off}
    ailing = labs.ailing(answers)
    assert not set(ailing) & {name for one in unconcerned for name in labs.nodes(healthy, one)}, ailing
    assert {answers[name]["status"] for name in watching} == {"degraded"}
    labs.wait_healthy(healthy)
