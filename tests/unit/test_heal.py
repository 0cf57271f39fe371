"""Healing fails closed, counts hosts that do not answer, and ignores unknown faults; its memory is a real file."""

import json
import multiprocessing

import pytest

import fanatico_history
import fanatico_lock
import fanatico_master
import fanatico_record
import fanatico_sweep
from _runners import fanatico_heal as runner
from _runners import fanatico_lock as locks
from tests.support.pillar import shipped


class Fleet:
    """A cluster in which etcd1 has stopped, and what was asked of it."""

    def __init__(self, home):
        self.home, self.asked, self.silent, self.person, self.answer = home, [], False, None, None
        self.settings = shipped("heal")

    def fanout(self, opts, nodes, function, args=(), timeout=0, enough=None):
        self.asked.append(function)
        if function == "fanatico_cure.apply" and self.answer:
            return dict.fromkeys(nodes, self.answer)
        if function == "fanatico_cure.apply" and self.person:
            self.person()
            assert enough(), "the cure goes on waiting"
            return {}
        if function == "fanatico_cure.apply" and self.silent:
            return {}
        return {
            node: {"acted": True, "running": True, "did": "started again", "detail": ""} for node in nodes
        }

    def heal(self, what="etcd.service", host="etcd1", why="stopped"):
        return runner.heal(host, what, why, roles=["etcd"])

    @property
    def history(self):
        return fanatico_history.newest(self.home / "history.jsonl", 1000)


@pytest.fixture
def fleet(plan, tmp_path, monkeypatch):
    made = Fleet(tmp_path)
    monkeypatch.setattr(fanatico_master, "plan", lambda opts: plan)
    monkeypatch.setattr(fanatico_master, "compiled", lambda opts, node: ({"heal": made.settings}, []))
    monkeypatch.setattr(fanatico_sweep, "fanout", made.fanout)
    opts = {"fanatico_home": str(tmp_path), "fanatico_history": str(tmp_path / "history.jsonl")}
    for one in (runner, locks):
        monkeypatch.setattr(one, "__opts__", opts, raising=False)
    monkeypatch.setattr(
        fanatico_record,
        "note",
        lambda opts, kind, decision, **facts: fanatico_history.append(
            tmp_path / "history.jsonl", kind, decision, **facts
        ),
    )
    return made


@pytest.mark.parametrize(
    ("removed", "kept"), [(4096, 4096), (0, None), ("4096\nhealed", None), (-1, None), (2**70, None)]
)
def test_the_history_has_the_bytes_that_a_cure_deleted(fleet, removed, kept):
    fleet.answer = {"acted": True, "running": True, "did": "cloned", "detail": "", "removed": removed}
    assert fleet.heal()["decision"] == "healed"
    (entry,) = fleet.history
    assert entry.get("removed") == kept
    assert ("4096 bytes" in fanatico_history.line(entry)) is bool(kept)


def test_it_heals(fleet):
    assert fleet.heal()["decision"] == "healed"
    assert list(json.loads((fleet.home / "guard.json").read_text())["attempts"]) == ["etcd1/etcd.service"]


def test_by_hand_the_masters_pillar_decides(fleet):
    fleet.settings["dry_run"] = True
    assert fleet.heal()["code"] == "dry-run"
    told = runner.heal("etcd1", "etcd.service", roles=["etcd"], settings=shipped("heal"))
    assert told["decision"] == "healed", "an orchestration brings its own"


@pytest.mark.parametrize("content", ["", "{", '{"frozen": {"until": 9', "[]"])
def test_with_a_damaged_memory_nothing_is_healed_until_unfreeze(fleet, content):
    """It may have held a freeze, and how often something was tried."""
    (fleet.home / "guard.json").write_text(content)
    said = fleet.heal()
    assert (said["decision"], said["code"]) == ("refused", "memory-damaged")
    assert "guard.json" in said["reason"], "which file"
    assert "salt-run fanatico.unfreeze" in said["reason"], "what to do"
    assert fleet.asked == []
    fleet.heal()
    assert len(fleet.history) == 1, "the same refusal again is no news"
    runner.unfreeze()
    assert fleet.heal()["decision"] == "healed"


def test_a_freeze_holds_also_where_the_memory_was_damaged(fleet):
    (fleet.home / "guard.json").write_text("{")
    runner.freeze("new disks", "5m")
    assert fleet.heal()["code"] == "frozen"


def test_unfreeze_ends_a_freeze(fleet):
    runner.freeze("new disks", "5m")
    runner.unfreeze()
    assert [entry["decision"] for entry in fleet.history] == ["thawed", "frozen"]
    assert fleet.heal()["decision"] == "healed"


@pytest.mark.parametrize("memory", [None, {}, {"frozen": {"until": 1, "reason": "over"}}])
def test_unfreeze_without_a_freeze_changes_nothing(fleet, memory):
    path = fleet.home / "guard.json"
    if memory is not None:
        path.write_text(json.dumps(memory))
    assert "not frozen" in runner.unfreeze()
    assert fleet.history == []
    assert (json.loads(path.read_text()) if path.exists() else None) == memory


def test_a_cure_gives_way_to_a_deploy(fleet):
    """A cure may take ten minutes; a deploy that would take back what is wrong is not kept waiting for it."""
    taken = []

    def deploy():
        with multiprocessing.get_context("fork").Pool(1) as pool:
            taken.append(pool.apply(fanatico_lock.acquire, (str(fleet.home), "deploy")))

    fleet.person = deploy
    said = fleet.heal()
    assert taken[0][0] is False, "it waits until the cure has let go"
    assert (said["decision"], said["code"]) == ("left", "deploy-first")
    assert fanatico_lock.holder(str(fleet.home)) is None
    assert list(json.loads((fleet.home / "guard.json").read_text())["attempts"]) == ["etcd1/etcd.service"]


def test_a_cure_does_not_give_way_to_another_cure(fleet):
    fanatico_lock.acquire(str(fleet.home), "heal", owner="a")
    fanatico_lock.acquire(str(fleet.home), "heal", owner="b")
    assert fanatico_lock.asked(str(fleet.home), "a") == ""


def test_an_orchestration_that_fails_is_in_the_history(fleet):
    fanatico_lock.acquire(str(fleet.home), "deploy")
    locks.broke_off("Bring up etcd", "etcd2: no quorum\x1b[2J")
    assert fanatico_lock.holder(str(fleet.home)) is None
    newest = fleet.history[0]
    assert (newest["kind"], newest["decision"]) == ("deploy", "failed")
    assert newest["reason"] == "Bring up etcd: etcd2: no quorum [2J"
    assert locks.broke_off("An outer step", "it failed too") is None
    assert len(fleet.history) == 1


def test_an_orchestration_that_cannot_start_is_in_the_history(fleet):
    locks.broke_off("Check the pillar", "plan:nodes is empty", "rotate_certs")
    newest = fleet.history[0]
    assert (newest["kind"], newest["decision"]) == ("rotate_certs", "failed")
    assert newest["reason"] == "Check the pillar: plan:nodes is empty"


def test_a_step_that_fails_beside_others_leaves_them_the_lock(fleet):
    """It is a process of its own. The reason is kept in the lock until the orchestration has ended."""
    home = str(fleet.home)
    fanatico_lock.acquire(home, "deploy")
    child = multiprocessing.get_context("fork").Process(
        target=locks.broke_off, args=("Bring up the RPC nodes", "rpc1: no")
    )
    child.start()
    child.join(10)
    assert fanatico_lock.holder(home)["purpose"] == "deploy"
    assert fleet.history == []
    file = fleet.home / "lock.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "started": "ended"}))
    locks.left_over()
    newest = fleet.history[0]
    assert (newest["kind"], newest["decision"]) == ("deploy", "failed")
    assert newest["reason"] == "Bring up the RPC nodes: rpc1: no"


def test_a_fault_without_a_cure_is_reported_with_its_cause(fleet):
    said = runner.heal("db1", "postgres-failed", 'FATAL:  could not access file "pg_cron"', roles=["patroni"])
    assert (said["decision"], said["code"]) == ("refused", "no-cure")
    assert "pg_cron" in said["reason"], "what PostgreSQL said"
    assert fleet.asked == []


def test_a_host_that_does_not_answer_counts_as_an_attempt(fleet):
    fleet.silent = True
    for _ in range(3):
        with pytest.raises(runner.CommandExecutionError):
            fleet.heal()
        assert fleet.history[0]["code"] == "no-answer"
    assert fleet.heal()["code"] == "attempts-spent"


def test_a_report_of_no_fault_is_counted_and_is_no_attempt(fleet, monkeypatch):
    nothing = {"acted": False, "running": True, "detail": "", "did": ""}
    monkeypatch.setattr(runner, "_cure", lambda *_: nothing)
    assert fleet.heal()["code"] == "gone"
    state = json.loads((fleet.home / "guard.json").read_text())
    assert list(state["mistaken"]) == ["etcd1"]
    assert "attempts" not in state


def test_the_same_refusal_is_in_the_history_once(fleet):
    def deploy():
        with multiprocessing.get_context("fork").Pool(1) as pool:
            pool.apply(fanatico_lock.acquire, (str(fleet.home), "deploy"))
            said.append(fleet.heal())

    said = []
    deploy()
    deploy()
    assert [(one["decision"], one["code"]) for one in said] == [("refused", "deploy-running")] * 2
    written = [one["code"] for one in fleet.history if one["decision"] == "refused"]
    assert written == ["deploy-running"], "the process is another, the refusal is not"


def test_a_code_in_the_answer_of_a_minion_is_ignored(fleet, monkeypatch):
    answer = {"acted": True, "running": False, "detail": "x", "did": "", "code": "frozen", "left": "deploy"}
    monkeypatch.setattr(fanatico_sweep, "fanout", lambda *_, **__: {"etcd1": answer})
    with pytest.raises(runner.CommandExecutionError):
        fleet.heal()
    assert (fleet.history[0]["decision"], fleet.history[0]["code"]) == ("failed", "not-gone")


def test_a_fault_that_is_cured_instead_is_the_only_attempt(fleet, monkeypatch):
    outcomes = [
        {"acted": False, "running": False, "detail": "no log", "did": "", "instead": "etcd-data-lost"},
        {"acted": True, "running": True, "detail": "", "did": "rejoined"},
    ]
    monkeypatch.setattr(runner, "_cure", lambda *_: outcomes.pop(0))
    monkeypatch.setattr(runner, "_lacking", lambda *_: "")
    assert fleet.heal()["decision"] == "healed"
    state = json.loads((fleet.home / "guard.json").read_text())
    assert list(state["attempts"]) == ["etcd1/etcd-data-lost"]


@pytest.mark.parametrize(
    "what", ["x:\n  cmd.run:\n    - name: id\ny", "patroni.service", "rpc-hung", "\x1b[2J", ""]
)
def test_an_unknown_fault_leaves_no_trace(fleet, what):
    said = fleet.heal(what)
    assert (said["decision"], said["code"]) == ("refused", "unknown-fault")
    assert said["reason"].isprintable()
    assert (fleet.asked, fleet.history) == ([], [])
    assert not (fleet.home / "guard.json").exists()


def test_the_text_of_a_minion_is_cut_to_one_short_line(fleet):
    fleet.heal(why="x\n2026-11-28 heal healed db1\x1b[2J" + "y" * 1_000_000)
    (entry,) = fleet.history
    assert entry["why"].isprintable()
    assert len(entry["why"]) <= 300
