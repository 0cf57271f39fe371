"""What every orchestration begins and ends with."""

import itertools

import pytest
import yaml

import fanatico_lock
from _runners._modules import fanatico_orch as orch

NODES = {"etcd1": ["etcd"], "db1": ["patroni"], "both": ["etcd", "patroni"]}


@pytest.fixture
def home(tmp_path):
    return tmp_path


@pytest.fixture
def configure_loader_modules(home):
    def nodes(role=None):
        return [name for name, roles in NODES.items() if role is None or role in roles]

    return {
        orch: {
            "__opts__": {"fanatico_home": str(home)},
            "__pillar__": {"orch": {"timeouts": {"lock": 1, "firewall": 2, "pillar": 3, "ready": 4}}},
            "__salt__": {"fanatico_plan.nodes": nodes},
        }
    }


def steps(text):
    """``[(title, function, arguments)]`` of a text, in its order."""
    found = []
    for title, body in (yaml.safe_load(text) or {}).items():
        ((function, parts),) = body.items()
        found.append((title, function, {name: value for part in parts for name, value in part.items()}))
    return found


def test_it_starts_with_validation_the_lock_and_hosts_that_answer():
    begun = steps(orch.begin("deploy", admit=True))
    assert [arguments["name"] for _, _, arguments in begun] == [
        "fanatico.validate",
        "fanatico.lock",
        "fanatico.admit",
        "fanatico.wait_minions",
        "saltutil.refresh_pillar",
    ]
    assert begun[1][2]["purpose"] == "deploy"
    assert (begun[1][2]["wait"], begun[2][2]["timeout"], begun[4][2]["timeout"]) == (1, 2, 3)
    assert "ids" not in begun[3][2], "whoever is in the plan by then"
    assert begun[4][2]["tgt"] == ["etcd1", "db1", "both"]
    for (before, _, _), (_, _, arguments) in itertools.pairwise(begun):
        assert arguments["require"] == [{"step": before}]
    assert all(arguments["failhard"] for _, _, arguments in begun)


def test_hosts_of_some_roles_only():
    begun = steps(orch.begin("rpc_upgrade", roles=["patroni", "etcd"]))
    assert begun[2][2]["ids"] == ["db1", "both", "etcd1"]
    assert begun[3][2]["tgt"] == ["db1", "both", "etcd1"]


def test_without_roles_no_host_has_to_answer():
    assert [title for title, _, _ in steps(orch.begin("evict", roles=[]))] == [
        "Check the pillar",
        "Lock the cluster",
    ]


def test_a_step_of_another_orchestration_neither_takes_nor_releases_the_lock(home):
    fanatico_lock.acquire(home, "evict")
    assert orch.begin("certify", roles=[]) == orch.end("The last step") == ""
    assert [title for title, _, _ in steps(orch.begin("deploy"))] == [
        "Wait for every host",
        "Refresh the pillar of every host",
    ]


def test_it_ends_with_an_entry_in_the_history():
    backup, (title, function, arguments) = steps(
        orch.end("Prove it", host="db9", reason="shut out: 1 'secret'")
    )
    assert (backup[1], backup[2]["name"], backup[2]["require"]) == (
        "step.runner",
        "fanatico.master_changed",
        [{"step": "Prove it"}],
    )
    assert (title, function) == ("Unlock the cluster", "step.runner")
    assert arguments == {
        "failhard": True,
        "name": "fanatico.unlock",
        "host": "db9",
        "reason": "shut out: 1 'secret'",
        "require": [{"step": backup[0]}],
    }


def test_the_proof_runs_on_a_database_host():
    ((_, function, arguments),) = steps(orch.prove("Bring up haproxy2"))
    assert (function, arguments["name"], arguments["tgt"]) == ("step.function", "fanatico.proof", "db1")
    assert arguments["timeout"] == 4
    assert arguments["require"] == [{"step": "Bring up haproxy2"}]
