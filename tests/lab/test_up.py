"""The result of `./fanatico up`: all machines on and healthy, the services proven end to end."""

import pytest

from tests.support import labs

pytestmark = pytest.mark.reads_only


def test_every_machine_of_the_plan_is_on(lab):
    assert sorted(lab.running()) == sorted(lab.plan["nodes"])


def test_the_deploy_has_ended_well(lab):
    assert lab.state["deployed"]


def test_no_unit_has_failed_anywhere(lab):
    failed = {
        name: lab.exec(name, ["systemctl", "list-units", "--failed", "--plain", "--no-legend"]).stdout.strip()
        for name in lab.plan["nodes"]
    }
    assert {name: units for name, units in failed.items() if units} == {}


def test_everything_is_healthy(lab):
    answers = labs.wait_healthy(lab, timeout=30)
    assert sorted(answers) == sorted(lab.plan["nodes"])


def test_it_serves_end_to_end(lab):
    proof = lab.salt("db1", "fanatico.proof")["db1"]
    assert len(proof) == 5


@pytest.mark.parametrize(
    ("role", "package"), [("etcd", "etcd-server"), ("patroni", "patroni"), ("haproxy", "haproxy")]
)
def test_only_the_machines_of_a_role_have_its_packages(lab, role, package):
    """The image has no components: the deploy has installed them."""
    argv = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    having = {name for name in lab.plan["nodes"] if lab.exec(name, argv, check=False).stdout == "installed"}
    assert having == set(labs.nodes(lab, role))
