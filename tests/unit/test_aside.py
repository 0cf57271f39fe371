"""Data that a cure replaces is moved aside completely, and deleted only on request."""

import errno
import os
import shutil
from collections import namedtuple

import pytest

import fanatico_aside as aside

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def data(tmp_path):
    """A data directory with a tablespace and a WAL directory outside of it."""
    for name in ("main/global", "main/pg_tblspc", "space", "wal"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "main/global/pg_control").write_text("x")
    (tmp_path / "space/table").write_text("x" * 10_000)
    (tmp_path / "main/pg_tblspc/16388").symlink_to(tmp_path / "space")
    (tmp_path / "main/pg_wal").symlink_to(tmp_path / "wal")
    (tmp_path / "space").chmod(0o700)
    return tmp_path / "main"


def test_everything_is_kept_and_empty_directories_remain(data):
    path = aside.move(data, emptied=True)
    assert (data.parent / path / "global/pg_control").read_text() == "x"
    assert list(data.iterdir()) == []
    space = data.parent / "space"
    assert list(space.iterdir()) == []
    assert oct(space.stat().st_mode & 0o777) == "0o700"
    (kept,) = data.parent.glob("space.aside-*")
    assert (kept / "table").exists()


def test_delete_includes_tablespaces(data):
    aside.move(data)
    (data / "pg_tblspc").mkdir(parents=True)
    (data / "pg_tblspc/16388").symlink_to(data.parent / "space")
    assert len(aside.paths(data)) == 2
    assert aside.delete(data) > 0
    assert aside.paths(data) == []


def test_what_a_restore_keeps_is_not_deleted_by_a_cure(data):
    kept = aside.move(data, emptied=True, kind=aside.UNDO)
    assert aside.paths(data) == []
    assert aside.delete(data) == 0
    assert kept in aside.paths(data, aside.UNDO)


def test_data_of_before_is_put_back_with_its_tablespaces(data):
    kept = aside.move(data, emptied=True, kind=aside.UNDO)
    (data / "restored").touch()
    (data.parent / "space/restored").touch()
    assert aside.put_back(data) == kept
    assert (data / "global/pg_control").read_text() == "x"
    assert [path.name for path in (data.parent / "space").iterdir()] == ["table"]
    assert aside.paths(data, aside.UNDO) == []
    with pytest.raises(ValueError, match="nothing was changed"):
        aside.put_back(data)
    assert (data / "global/pg_control").exists()


def test_across_file_systems_data_is_copied_with_its_mode(data, monkeypatch):
    """The disks of the lab's machines are overlays."""

    def rename(self, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(type(data), "rename", rename)
    (data / "global").chmod(0o750)
    path = aside.move(data, emptied=True)
    kept = data.parent / path
    assert (kept / "global/pg_control").read_text() == "x"
    assert oct((kept / "global").stat().st_mode & 0o777) == "0o750"
    assert list(data.iterdir()) == []


@pytest.mark.parametrize("obstacle", ["no room", "a mount point"])
def test_data_that_cannot_be_moved_is_unchanged(data, monkeypatch, obstacle):
    if obstacle == "no room":
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10, 10, 0))
    else:
        monkeypatch.setattr(os.path, "ismount", lambda path: str(path).endswith("space"))
    with pytest.raises(ValueError, match=str(data.parent)):
        aside.move(data)
    assert (data / "global/pg_control").exists()
    assert (data.parent / "space/table").exists()
