"""A minion imports `_utils` again after a sync: jobs are forks of a long-lived process."""

import importlib
import os
import sys

import pytest

from _grains import fanatico_utils


@pytest.fixture
def configure_loader_modules(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "utils")])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "utils").mkdir()
    return {fanatico_utils: {"__opts__": {"extension_modules": str(tmp_path)}}}


def write(path, text, stamp):
    path.write_text(text)
    os.utime(path, (stamp, stamp))
    importlib.invalidate_caches()  # as Salt's loader does after each file


def test_synced_files_are_imported_again(tmp_path):
    path = tmp_path / "utils" / "handed_out.py"
    write(path, "told = 1", 1)
    before = importlib.import_module("handed_out")
    write(path, "told = 2", 2)
    assert fanatico_utils.imported_again() == {}
    after = importlib.import_module("handed_out")
    assert (before.told, after.told) == (1, 2)


def test_other_modules_stay_imported(tmp_path):
    before = dict(sys.modules)
    fanatico_utils.imported_again()
    assert sys.modules == before
