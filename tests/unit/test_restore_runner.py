"""What the master records of a restore of the whole cluster."""

import types

import pytest
from salt.exceptions import CommandExecutionError

import fanatico_restore_journal as journals
from _runners import fanatico_restore_cluster as runner

TARGET = "2026-11-28 12:00:00+00"


JOURNAL = {
    "phase": "begun",
    "target": TARGET,
    "asked": TARGET,
    "look": False,
    "host": "db2",
    "backup_host": "ops1",
}


class TestBegin:
    """The first step, on the master."""

    @pytest.fixture
    def master(self, tmp_path, plan, monkeypatch):
        found = types.SimpleNamespace(answers={"ops1": True}, frozen=[])
        monkeypatch.setattr(runner, "__opts__", {"fanatico_home": str(tmp_path)}, raising=False)
        salt = {"fanatico.freeze": lambda *words: found.frozen.append(words)}
        monkeypatch.setattr(runner, "__salt__", salt, raising=False)
        monkeypatch.setattr(runner.fanatico_master, "plan", lambda opts: plan)
        monkeypatch.setattr(runner.fanatico_sweep, "fanout", lambda *_: found.answers)
        found.journal = {**JOURNAL}
        found.read = lambda: journals.read(tmp_path)
        return found

    def test_it_is_recorded_and_healing_stops(self, master):
        runner.restore_begin(master.journal)
        assert master.read()["phase"] == "begun"
        assert master.frozen

    @pytest.mark.parametrize("answers", [{}, {"ops1": "ERROR: no space"}])
    def test_not_before_the_backups_are_kept(self, master, answers):
        """An undo may need the oldest one: a guard that fails, fails closed."""
        master.answers = answers
        with pytest.raises(CommandExecutionError, match="Nothing was changed"):
            runner.restore_begin(master.journal)
        assert (master.read(), master.frozen) == ({}, [])

    def test_not_beside_another(self, master):
        runner.restore_begin(master.journal)
        with pytest.raises(CommandExecutionError, match="Another restore began"):
            runner.restore_begin({**master.journal, "asked": "latest"})
        assert master.read()["asked"] == TARGET
