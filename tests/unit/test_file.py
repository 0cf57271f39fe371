"""Files are replaced whole or not at all, and are nobody else's to read meanwhile."""

import os

import pytest

from _utils import fanatico_file


def test_it_holds_the_text_with_its_mode(tmp_path):
    path = tmp_path / "secret"
    path.write_text("before")
    fanatico_file.replace(path, "after", 0o640)
    assert path.read_text() == "after"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_where_it_fails_all_is_as_before(tmp_path, monkeypatch):
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
