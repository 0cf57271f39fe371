"""`salt-run fanatico.admit` and `sync_modules`: firewall and modules are updated before hosts are deployed."""

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_firewall
import fanatico_master
import fanatico_plan
import fanatico_sweep
from _runners import fanatico_minions as runner
from tests.support.pillar import shipped

APPLIED = {
    "fanatico_firewall_|-the rules": {"result": True, "comment": "loaded", "changes": {"rules": "new"}}
}


FIREWALL = {**shipped("firewall"), "admin": ["192.0.2.0/24"]}


class Master:
    """The master's machine: its rules, and its minion."""

    def __init__(self, plan, tmp_path):
        self.plan, self.path = plan, tmp_path / "firewall.nft"
        self.answer, self.asked, self.validated = APPLIED, [], 0

    def rules(self):
        return fanatico_firewall.ruleset(fanatico_plan.complete(self.plan), FIREWALL, "salt")

    def fanout(self, opts, nodes, function, args=(), timeout=0):
        self.asked.append((nodes, function, args))
        return {} if self.answer is None else dict.fromkeys(nodes, self.answer)

    def validate(self):
        self.validated += 1


@pytest.fixture
def master(plan, tmp_path, monkeypatch):
    made = Master(plan, tmp_path)
    pillar = {"plan": plan, "firewall": FIREWALL}
    monkeypatch.setattr(fanatico_master, "plan", lambda opts: plan)
    monkeypatch.setattr(fanatico_master, "compiled", lambda opts, node: (pillar, []))
    monkeypatch.setattr(fanatico_sweep, "fanout", made.fanout)
    runners = {"fanatico.validate": made.validate}
    for name, value in (("__salt__", runners), ("__opts__", {})):
        monkeypatch.setattr(runner, name, value, raising=False)
    monkeypatch.setattr(runner, "_RULES", str(made.path))
    return made


def test_before_the_first_deploy_there_are_no_rules(master):
    assert runner.admit() == {"firewall": "none"}
    assert master.asked == []


def test_rules_of_this_plan_stay(master):
    master.path.write_text(master.rules())
    assert runner.admit() == {"firewall": "in force"}
    assert (master.asked, master.validated) == ([], 0)


def test_rules_of_an_earlier_plan_are_replaced_once_the_pillar_is_valid(master):
    master.path.write_text("an earlier plan's")
    assert runner.admit() == {"firewall": "loaded"}
    assert master.asked == [(["salt"], "state.apply", ["firewall"])]
    assert master.validated == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "its own minion does not answer"),
        (["Pillar failed to render"], "Pillar failed to render"),
        (
            {"the rules": {"result": False, "comment": "somebody is logged in by ssh"}},
            "somebody is logged in by ssh",
        ),
    ],
)
def test_a_failure_names_the_firewall_and_the_next_step(master, answer, words):
    master.path.write_text("an earlier plan's")
    master.answer = answer
    with pytest.raises(CommandExecutionError, match="firewall") as refused:
        runner.admit()
    assert words in str(refused.value)
    assert str(refused.value).endswith("salt-call state.apply firewall")


# --- modules


TREE = {"utils/fanatico_plan.py": "aa", "modules/fanatico.py": "bb"}


class Minions:
    """Minions with modules of their own, which take the tree's where they are asked to."""

    def __init__(self, having, learns=True):
        self.having, self.learns, self.asked = having, learns, []

    def fanout(self, opts, nodes, function, args=(), timeout=0):
        nodes = list(nodes)
        if function == "fanatico_node.modules":
            return {node: self.having[node] for node in nodes if node in self.having}
        if nodes:
            self.asked.append((nodes, function, args))
        if self.learns:
            self.having.update(dict.fromkeys(nodes, TREE))
        return {}


@pytest.fixture
def handed_out(monkeypatch):
    def run(minions):
        nodes = {"nodes": {"etcd1": {}, "db1": {}, "rpc1": {}}}
        monkeypatch.setattr(fanatico_master, "plan", lambda opts: nodes)
        monkeypatch.setattr(fanatico_sweep, "fanout", minions.fanout)
        monkeypatch.setattr(runner, "__opts__", {}, raising=False)
        monkeypatch.setattr(runner, "_modules", lambda: TREE)
        return runner.sync_modules()

    return run


def test_modules_that_do_not_differ_are_not_synced(handed_out):
    minions = Minions({"etcd1": TREE, "db1": TREE, "rpc1": TREE})
    assert handed_out(minions) == {"synced": []}
    assert minions.asked == []


@pytest.mark.parametrize(
    "has",
    [
        {},  # freshly installed, and the function is known
        "'fanatico_node.modules' is not available.",
        {**TREE, "modules/fanatico.py": "older"},
        {**TREE, "states/gone.py": "cc"},
    ],
)
def test_modules_that_differ_are_synced(handed_out, has):
    minions = Minions({"etcd1": TREE, "db1": has})  # rpc1 does not answer the first question
    assert handed_out(minions) == {"synced": ["db1", "rpc1"]}
    ((nodes, functions, arguments),) = minions.asked
    assert nodes == ["db1", "rpc1"]
    assert functions[-1] == "saltutil.refresh_modules"
    assert len(functions) == len(arguments) == len(runner._KINDS) + 1


def test_what_sync_all_brings_beside_ours_is_kept(handed_out):
    more = {**TREE, "output/fanatico.py": "dd"}
    assert handed_out(Minions({"etcd1": more, "db1": TREE, "rpc1": TREE})) == {"synced": []}


def test_a_minion_whose_modules_still_differ_is_named(handed_out):
    with pytest.raises(CommandExecutionError, match=r"^db1: .* salt -L db1 saltutil.sync_all"):
        handed_out(Minions({"etcd1": TREE, "db1": {}, "rpc1": TREE}, learns=False))
