"""Which machines of a lab have to be asked for their health again."""

import types

import pytest

import fanatico_plan
from lab import plan as plans
from tests.support import labs

PLAN = plans.load()
LAB = types.SimpleNamespace(name="some", plan=PLAN, nodes=lambda role=None: fanatico_plan.nodes(PLAN, role))
EVERY = set(LAB.nodes())
DATABASES = {"db1", "db2", "db3"}


def machine(name, lab="some"):
    return types.SimpleNamespace(name=name, lab=lab)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """The lab was healthy a moment ago."""
    monkeypatch.setattr(labs, "_known", {"healthy": "some", "touched": set(), "reading": False})


run = labs._recorded(lambda *_: None, labs._by_command)


def test_none_where_nothing_has_run():
    assert labs.touched(LAB) == set()
    labs.forget_health()
    assert labs.touched(LAB) == set()


def test_a_machine_and_its_peers():
    run(machine("db2"), ["systemctl", "stop", "patroni"])
    assert labs.touched(LAB) == DATABASES
    run(machine("ops1"), ["true"])
    assert labs.touched(LAB) == {*DATABASES, "ops1"}


@pytest.mark.parametrize(
    ("argv", "touched"),
    [
        (["salt-run", "fanatico.freeze", "a test", "2m"], {"salt"}),
        (["salt-run", "--out=json", "fanatico.status"], {"salt"}),
        (["salt-run", "state.orchestrate", "orch.deploy"], EVERY),
        (["salt-run", "fanatico.reconcile"], EVERY),
        (["salt", "rpc1", "test.ping"], EVERY),
        (["cat", "/etc/hosts"], {"salt"}),
    ],
)
def test_a_command_of_salt_may_touch_every_machine(argv, touched):
    run(machine("salt"), argv)
    assert labs.touched(LAB) == touched


def test_what_only_reads_touches_nothing():
    with labs.reading():
        run(machine("db2"), ["cat", "/etc/hosts"])
    assert labs.touched(LAB) == set()


def test_another_lab_is_another_matter():
    run(machine("db2", lab="other"), ["true"])
    assert labs.touched(LAB) == set()
    assert labs.touched(types.SimpleNamespace(**{**vars(LAB), "name": "other"})) == EVERY


def test_the_next_file_asks_all_of_them():
    run(machine("db2"), ["true"])
    labs.forget_health()
    assert labs.touched(LAB) == EVERY
