"""`salt-run fanatico.history`: which entries it shows, and what it refuses."""

import json

import pytest

import fanatico_master
from _runners import fanatico_history as runner


@pytest.fixture
def history(plan, tmp_path, monkeypatch):
    """A history of two hosts; returns what the runner returns for arguments."""
    path = tmp_path / "history.jsonl"
    entries = [
        {"time": "2026-01-01T00:00:00+0000", "kind": "heal", "decision": "healed", "host": host}
        for host in ("db1", "db2", "db1", "gone9")
    ]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    opts = {"fanatico_history": str(path), "output": "json"}
    monkeypatch.setattr(runner, "__opts__", opts, raising=False)
    monkeypatch.setattr(fanatico_master, "plan", lambda opts: plan)
    return runner.history


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        ({}, ["gone9", "db1", "db2", "db1"]),
        ({"limit": 2}, ["gone9", "db1"]),
        ({"host": "db1"}, ["db1", "db1"]),
        ({"host": "gone9"}, ["gone9"]),  # no longer in the plan
        ({"host": "rpc1"}, []),
    ],
)
def test_entries_are_shown_newest_first(history, given, hosts):
    assert [entry["host"] for entry in history(**given)] == hosts


def test_an_unknown_host_is_refused_with_the_known_names(history, plan):
    with pytest.raises(fanatico_master.Refusal) as refused:
        history(host="unknown")
    assert all(node in str(refused.value) for node in ["unknown", *plan["nodes"]])


@pytest.mark.parametrize("limit", [-3, 0, 2.5, float("nan")])
def test_a_limit_that_is_no_count_is_refused(history, limit):
    with pytest.raises(fanatico_master.Refusal, match="limit"):
        history(limit=limit)


def test_a_host_of_the_plan_without_entries_is_named(history):
    runner.__opts__["output"] = "nested"
    assert "rpc1" in history(host="rpc1")
