"""`salt-run fanatico.drift`: who is asked, what counts, what is written down."""

import json
import types

import pytest
from salt.exceptions import CommandExecutionError

from _modules import fanatico_node
from _runners import fanatico_drift as runner
from _utils import fanatico_history, fanatico_master, fanatico_plan


class Fleet:
    """Hosts that answer what they are told to."""

    def __init__(self):
        self.answers, self.groups, self.events = {}, [], []

    def ask(self, opts, nodes, function, timeout):
        self.groups.append(list(nodes))
        return {node: self.answers[node] for node in nodes if node in self.answers}


@pytest.fixture
def fleet(plan, tmp_path, monkeypatch):
    fleet = Fleet()
    fleet.answers = {node: {} for node in plan["nodes"]}

    class Bus:
        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda *_: None  # noqa: E731
        fire_event = lambda self, data, tag: fleet.events.append(tag)  # noqa: E731

    event = types.SimpleNamespace(get_master_event=lambda *_, **__: Bus())
    monkeypatch.setattr(runner, "salt", types.SimpleNamespace(utils=types.SimpleNamespace(event=event)))
    dunders = {
        "__opts__": {"sock_dir": "", "fanatico_history": str(tmp_path / "history")},
        "__context__": {},
        "__utils__": {
            "fanatico_master.plan": lambda opts: plan,
            "fanatico_master.refuse": fanatico_master.refuse,
            "fanatico_plan.nodes": fanatico_plan.nodes,
            "fanatico_sweep.ask": fleet.ask,
            "fanatico_history.append": fanatico_history.append,
        },
    }
    for name, value in dunders.items():
        monkeypatch.setattr(runner, name, value, raising=False)
    fleet.history = lambda: json.loads((tmp_path / "history").read_text().splitlines()[-1])
    return fleet


def test_all_as_it_should_be(fleet, plan):
    seen = runner.drift(at_once=5)
    assert (seen["drift"], seen["unknown"]) == ({}, {})
    assert "retcode" not in runner.__context__
    assert [len(group) for group in fleet.groups] == [5, 5, 2]
    assert (fleet.history()["decision"], fleet.history()["reason"]) == (
        "none",
        "12 hosts are what the tree says",
    )
    assert fleet.events == ["fanatico/drift/none"]


def test_what_has_drifted_and_who_could_not_tell(fleet):
    fleet.answers["db1"] = {"Patroni is configured": "The file would be changed"}
    fleet.answers["db2"] = "Traceback\nRendering SLS failed"
    del fleet.answers["db3"]
    seen = runner.drift(nodes=["db1", "db2", "db3"])
    assert seen["drift"] == {"db1": {"Patroni is configured": "The file would be changed"}}
    assert seen["unknown"] == {"db2": "Rendering SLS failed", "db3": "no answer"}
    assert runner.__context__["retcode"] == seen["retcode"] == 1
    assert fleet.history()["reason"] == "db1: Patroni is configured; db2 unknown; db3 unknown"


def test_a_node_that_is_not_there(fleet):
    with pytest.raises(CommandExecutionError, match="db9: not in the plan"):
        runner.drift(nodes=["db9"])
    assert fleet.groups == []


@pytest.fixture
def configure_loader_modules(all_utils, plan):
    return {
        fanatico_node: {
            "__utils__": all_utils,
            "__salt__": {},
            "__opts__": {"id": "db1"},
            "__pillar__": {"plan": plan},
        }
    }


def test_a_host_names_the_states_and_shows_no_difference():
    secret = {"diff": "-password: old\n+password: new"}
    fanatico_node.__salt__["state.highstate"] = lambda **_: {
        "a": {
            "__id__": "A file",
            "result": None,
            "comment": "The file would be changed\nmore",
            "changes": secret,
        },
        "b": {"__id__": "A service", "result": True, "comment": "", "changes": {}},
        "c": {"__id__": "A package", "result": False, "comment": "", "changes": {}},
    }
    assert fanatico_node.drift() == {"A file": "The file would be changed", "A package": "would change"}


def test_a_host_whose_pillar_is_not_sound_says_so():
    fanatico_node.__salt__["state.highstate"] = lambda **_: ["Rendering SLS 'base:x' failed"]
    with pytest.raises(CommandExecutionError, match="db1: Rendering SLS"):
        fanatico_node.drift()
