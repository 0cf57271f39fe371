"""Files are replaced atomically, and only the owner can read them meanwhile."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

import fanatico_file


def test_the_file_has_text_and_mode(tmp_path):
    path = tmp_path / "secret"
    path.write_text("before")
    fanatico_file.replace(path, "after", 0o640)
    assert path.read_text() == "after"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_changes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "secret"
    path.write_text("before")

    def fails(*_):
        seen = [one for one in tmp_path.iterdir() if one != path]
        assert len(seen) == 1
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="No space"):
        fanatico_file.replace(path, "after", 0o644)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_concurrent_changes_are_not_lost(tmp_path):
    path = tmp_path / "state.json"

    def count(number):
        for _ in range(10):
            fanatico_file.change_json(
                path, lambda state: ({**state, str(number): state.get(str(number), 0) + 1}, None)
            )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    assert fanatico_file.read_json(path) == {str(number): 10 for number in range(8)}
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "{", '{"frozen": {"until"', "[]", "null", "\x00"])
def test_a_damaged_file_is_not_treated_as_empty(tmp_path, content):
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="state.json is damaged"):
        fanatico_file.read_json(path)
    with pytest.raises(ValueError, match="state.json is damaged"):
        fanatico_file.change_json(path, lambda state: ({}, None))
    assert path.read_text() == content
    assert fanatico_file.change_json(path, lambda state: ({**state, "new": 1}, "said"), afresh=True) == "said"
    assert fanatico_file.read_json(path) == {"new": 1}
