"""What a cure replaces is put aside whole, and goes only once it is asked to."""

import errno
import os
import shutil
from collections import namedtuple

import pytest

import fanatico_aside as aside

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def data(tmp_path):
    """A data directory with a tablespace and its WAL elsewhere."""
    for name in ("main/global", "main/pg_tblspc", "space", "wal"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "main/global/pg_control").write_text("x")
    (tmp_path / "space/table").write_text("x" * 10_000)
    (tmp_path / "main/pg_tblspc/16388").symlink_to(tmp_path / "space")
    (tmp_path / "main/pg_wal").symlink_to(tmp_path / "wal")
    (tmp_path / "space").chmod(0o700)
    return tmp_path / "main"


def test_all_of_it_is_kept_and_empty_directories_are_left(data):
    path = aside.move(data, emptied=True)
    assert (data.parent / path / "global/pg_control").read_text() == "x"
    assert list(data.iterdir()) == []
    space = data.parent / "space"
    assert list(space.iterdir()) == []
    assert oct(space.stat().st_mode & 0o777) == "0o700"
    (kept,) = data.parent.glob("space.aside-*")
    assert (kept / "table").exists()


def test_it_goes_with_its_tablespaces_once_the_new_data_lead_there_again(data):
    aside.move(data)
    (data / "pg_tblspc").mkdir(parents=True)
    (data / "pg_tblspc/16388").symlink_to(data.parent / "space")
    assert len(aside.paths(data)) == 2
    assert aside.delete(data) > 0
    assert aside.paths(data) == []


def test_what_cannot_be_renamed_is_copied_with_its_mode(data, monkeypatch):
    """The lab's machines have their disks in layers."""

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
def test_what_cannot_be_kept_is_not_touched(data, monkeypatch, obstacle):
    if obstacle == "no room":
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10, 10, 0))
    else:
        monkeypatch.setattr(os.path, "ismount", lambda path: str(path).endswith("space"))
    with pytest.raises(ValueError, match=str(data.parent)):
        aside.move(data)
    assert (data / "global/pg_control").exists()
    assert (data.parent / "space/table").exists()
