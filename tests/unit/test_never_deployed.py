"""A host that is new in the plan needs a deploy: healing does not provision it, and takes no lock for it."""

import pytest

import fanatico_master
import fanatico_record
import fanatico_sweep
from _runners import fanatico_heal as runner
from tests.support.pillar import shipped


class Fleet:
    """Hosts with or without the new host in /etc/hosts, and the calls to them."""

    def __init__(self, plan):
        self.plan, self.knows, self.asked, self.noted = plan, {}, [], []

    def fanout(self, opts, nodes, function, args=(), timeout=0, enough=None):
        self.asked.append(function)
        if function == "hosts.has_pair":
            assert args == ["10.0.1.12", "rpc3"]
            assert "rpc3" not in nodes
            return {node: answer for node, answer in self.knows.items() if node in nodes}
        if function == "test.ping":
            return dict.fromkeys(nodes, True)
        if function == "fanatico.health":
            return {node: {"checks": {"rpc.http": {"status": "ok"}}} for node in nodes}
        return {
            "rpc3": {
                "acted": True,
                "running": True,
                "did": "the highstate applied",
                "detail": "",
                "took": 1.0,
            }
        }


@pytest.fixture
def fleet(plan, tmp_path, monkeypatch):
    made = Fleet(plan)
    monkeypatch.setattr(fanatico_master, "plan", lambda opts: plan)
    monkeypatch.setattr(fanatico_master, "compiled", lambda opts, node: ({"heal": shipped("heal")}, []))
    monkeypatch.setattr(fanatico_sweep, "fanout", made.fanout)
    monkeypatch.setattr(runner, "__opts__", {"fanatico_home": str(tmp_path)}, raising=False)
    monkeypatch.setattr(
        fanatico_record,
        "note",
        lambda opts, kind, decision, **facts: made.noted.append(decision) or {"decision": decision, **facts},
    )
    return made


def test_a_new_host_is_refused_without_the_lock(fleet, tmp_path):
    fleet.knows = dict.fromkeys(("salt", "rpc1", "db1", "etcd1"), False)
    told = runner.heal("rpc3", "unprovisioned", roles=["rpc"])
    assert (told["decision"], told["code"]) == ("refused", "never-deployed")
    assert fleet.asked == ["test.ping", "hosts.has_pair"]
    assert not (tmp_path / "lock.json").exists()


@pytest.mark.parametrize(
    "knows",
    [
        dict.fromkeys(("rpc1", "db1", "etcd1"), True),
        # One of the others was reinstalled as well, and one does not have the function.
        {"rpc1": True, "db1": True, "etcd1": False, "etcd2": "'hosts.has_pair' is not available."},
        {},
    ],
)
def test_a_host_that_was_deployed_before_is_provisioned(fleet, knows):
    fleet.knows = knows
    assert runner.heal("rpc3", "unprovisioned", roles=["rpc"])["decision"] == "healed"


def test_for_other_faults_no_host_is_asked(fleet):
    runner.heal("rpc3", "fanatico-rpc.service", roles=["rpc"])
    assert "hosts.has_pair" not in fleet.asked
