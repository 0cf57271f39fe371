"""
Data that a cure replaces: moved out of the way first, and removed only once the replacement is proven.

What lay in ``main`` lies in ``main.aside-TIME`` then, beside it, with the tablespaces and the WAL directory that PostgreSQL
keeps elsewhere.
"""

import errno
import os
import shutil
import subprocess
import time
from pathlib import Path

_ROOM = 1.1  # times the size of what is replaced: what the replacement may need


def move(directory, emptied=False):
    """
    Move a directory and what its links lead to aside. Where links lead, empty directories of the same owner and mode are left.

    directory
        The data.
    emptied
        Leave such a directory in its place as well.

    Returns the path to which it went. Raises ``ValueError`` with a sentence, before anything is moved, where there is no room
    for old and new data at the same time, or where a part is a mount point, which cannot be moved.
    """
    directory, stamp = Path(directory), int(time.time())
    parts = [directory, *_linked(directory)]
    for part in parts:
        if os.path.ismount(part):
            raise ValueError(
                f"{part} is a mount point and cannot be moved, so the old data cannot be kept: they stay as they are. "
                "Next: move its content away by hand"
            )
        needed, free = _ROOM * _size(part), shutil.disk_usage(part).free
        if free < needed:
            raise ValueError(
                f"{part} has {_size(part) / 1024**3:.1f} GiB and its disk {free / 1024**3:.1f} GiB free: not enough to keep "
                "the old data until the new are proven, so they stay as they are. Next: make room, or move them away by hand"
            )
    for part in parts:
        facts = part.stat()
        _move(part, _aside(part, stamp))
        if part != directory or emptied:
            part.mkdir(mode=facts.st_mode & 0o777)
            os.chown(part, facts.st_uid, facts.st_gid)
    return str(_aside(directory, stamp))


def paths(directory):
    """Return the paths of what was moved aside for ``directory``, its tablespaces' included, oldest first."""
    directory = Path(directory)
    parts = [directory, *_linked(directory)]
    return sorted(str(one) for part in parts for one in part.parent.glob(f"{part.name}.aside-*"))


def delete(directory):
    """Remove what was moved aside for ``directory``: the replacement is proven. Returns how many bytes that were."""
    gone = 0
    for path in paths(directory):
        gone += _size(path)
        shutil.rmtree(path)
    return gone


def _move(part, target):
    """Rename; where one directory lies on two disks, as on an overlay, copy with all attributes and remove the old one then."""
    try:
        part.rename(target)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        subprocess.run(
            ["cp", "-a", "--reflink=auto", str(part), str(target)], check=True, capture_output=True
        )
        shutil.rmtree(part)


def _aside(part, stamp):
    return part.with_name(f"{part.name}.aside-{stamp}")


def _linked(directory):
    """Return the directories outside that a PostgreSQL data directory leads to: its tablespaces, its WAL."""
    links = [directory / "pg_wal", *sorted((directory / "pg_tblspc").glob("*"))]
    return [link.resolve() for link in links if link.is_symlink() and link.resolve().is_dir()]


def _size(directory):
    """Return the bytes on disk below a directory; links are not followed."""
    files = (Path(folder, name) for folder, _, names in os.walk(directory) for name in names)
    return sum(_blocks(path) for path in files)


def _blocks(path):
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0
