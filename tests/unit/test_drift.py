"""`salt-run fanatico.drift`: the hosts that are asked, what counts as drift, and the history."""

import json
import types

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_master
import fanatico_sweep
from _modules import fanatico_node
from _runners import fanatico_drift as runner


class Fleet:
    """Hosts with the answers of a test."""

    def __init__(self):
        self.answers, self.groups, self.events, self.pillar = {}, [], [], {}

    def fanout(self, opts, nodes, function, timeout):
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
    }
    monkeypatch.setattr(fanatico_master, "plan", lambda opts: plan)
    monkeypatch.setattr(fanatico_master, "compiled", lambda opts, node: (fleet.pillar, []))
    monkeypatch.setattr(fanatico_sweep, "fanout", fleet.fanout)
    for name, value in dunders.items():
        monkeypatch.setattr(runner, name, value, raising=False)
    fleet.history = lambda: json.loads((tmp_path / "history").read_text().splitlines()[-1])
    return fleet


def test_no_drift(fleet, plan):
    seen = runner.drift(at_once=5)
    assert (seen["drift"], seen["unknown"]) == ({}, {})
    assert "retcode" not in runner.__context__
    assert [len(group) for group in fleet.groups] == [5, 5, 3]
    assert (fleet.history()["decision"], fleet.history()["reason"]) == (
        "none",
        "no drift on 13 hosts",
    )
    assert fleet.events == ["fanatico/drift/none"]


def test_hosts_that_drifted_and_hosts_that_failed(fleet):
    fleet.answers["db1"] = {"Configure Patroni": {"kind": "files", "would": "The file would be changed"}}
    fleet.answers["db2"] = "Traceback\nRendering SLS failed"
    del fleet.answers["db3"]
    seen = runner.drift(nodes=["db1", "db2", "db3"])
    assert seen["drift"] == {"db1": fleet.answers["db1"]}
    assert seen["unknown"] == {"db2": "Rendering SLS failed", "db3": "no answer"}
    assert runner.__context__["retcode"] == seen["retcode"] == 1
    assert fleet.history()["reason"] == "db1: Configure Patroni; db2 unknown; db3 unknown"


def test_a_node_that_is_not_there(fleet):
    with pytest.raises(CommandExecutionError, match="db9: not in the plan"):
        runner.drift(nodes=["db9"])
    assert fleet.groups == []


@pytest.fixture
def configure_loader_modules(plan):
    return {
        fanatico_node: {
            "__salt__": {},
            "__opts__": {"id": "db1"},
            "__pillar__": {"plan": plan},
        }
    }


SECRET = {"diff": "-password: old\n+password: new"}
HIGHSTATE = {
    "file_|-A file_|-/etc/a_|-managed": {
        "__id__": "A file",
        "__sls__": "a.configured",
        "result": None,
        "comment": "The file would be changed\nmore",
        "changes": SECRET,
    },
    "service_|-A runs_|-a_|-running": {
        "__id__": "A runs",
        "__sls__": "a.running",
        "result": None,
        "comment": "Service is set to be reloaded",
        "changes": {},
    },
    "service_|-B runs_|-b_|-running": {
        "__id__": "B runs",
        "__sls__": "b.running",
        "result": None,
        "comment": "Service b is set to start",
        "changes": {},
    },
    "file_|-B's file_|-/etc/b_|-managed": {
        "__id__": "B's file", "__sls__": "b.configured", "result": None, "comment": "", "changes": {},
    },
    "pkg_|-C_|-c_|-installed": {
        "__id__": "C", "__sls__": "c.installed", "result": True, "comment": "", "changes": {},
    },
}  # fmt: skip


def test_a_host_names_the_states_and_shows_no_difference():
    fanatico_node.__salt__["state.highstate"] = lambda **_: HIGHSTATE
    assert fanatico_node.drift() == {
        "A file": {"kind": "files", "would": "The file would be changed"},
        "A runs": {"kind": "consequences", "would": "Service is set to be reloaded"},
        "B runs": {"kind": "units", "would": "Service b is set to start"},
        "B's file": {"kind": "files", "would": "would change"},
    }


@pytest.mark.parametrize(
    ("kinds", "components"),
    [
        ([], {}),
        (["firewall"], {}),
        (["files"], {"a": ["a.configured", "a.running"]}),
        (["files", "units"], {"a": ["a.configured", "a.running"], "b": ["b.configured", "b.running"]}),
    ],
)
def test_a_component_is_corrected_as_a_whole_or_not_at_all(kinds, components):
    fanatico_node.__salt__["state.highstate"] = lambda **_: HIGHSTATE
    assert fanatico_node.correctable(kinds) == components


def test_drift_that_may_be_corrected_goes_to_the_guard(fleet):
    handed = []
    runner.__salt__ = {"state.orchestrate": lambda mods, pillar: handed.append((mods, pillar["event"]))}
    fleet.answers["db1"] = {"Configure Patroni": {"kind": "files", "would": "The file would be changed"}}
    runner.drift(nodes=["db1", "db2"])
    assert handed == [], "the pillar allows nothing"
    fleet.pillar = {"heal": {"auto_remediate_drift": ["files"]}}
    runner.drift(nodes=["db1", "db2"])
    event = {"host": "db1", "what": "drift", "why": "drifted: Configure Patroni"}
    assert handed == [("orch.heal", event)]


def test_a_host_whose_pillar_is_not_valid_is_unknown():
    fanatico_node.__salt__["state.highstate"] = lambda **_: ["Rendering SLS 'base:x' failed"]
    with pytest.raises(CommandExecutionError, match="db1: Rendering SLS"):
        fanatico_node.drift()
