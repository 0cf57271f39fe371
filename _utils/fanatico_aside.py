"""
Move data that is replaced aside, and delete it after the replacement is verified.

``main`` is renamed to ``main.aside-TIME`` in the same folder, or by a restore of the cluster to ``main.undo-TIME``, which no cure
deletes. Tablespaces and a WAL directory outside of it move too.
"""

import errno
import os
import shutil
import subprocess
import time
from pathlib import Path

ASIDE, UNDO = "aside", "undo"  # moved by a cure; by orch.restore, until it is accepted
_STAMP = "[0-9]" * 10  # seconds since 1970
_ROOM = 1.1  # free space that the replacement needs, as a factor of the size of the old data


class NoRoom(ValueError):
    """The disk has no room for old and new data at the same time."""


def obstacle(directory):
    """Return why a data directory cannot be moved at all: a part of it is a mount point. Empty if it can."""
    parts = [Path(directory), *_linked(Path(directory))]
    mounts = [str(part) for part in parts if os.path.ismount(part)]
    return f"{mounts[0]} is a mount point and cannot be moved aside" if mounts else ""


def empty(directory):
    """Delete what is in a data directory, and in the directories outside that its links lead to; they stay."""
    for part in [*_linked(Path(directory)), Path(directory)]:
        for path in part.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def move(directory, emptied=False, kind=ASIDE, room=True):
    """
    Move a data directory aside, with the directories outside that its links lead to.

    Linked directories are recreated empty, with the same owner and mode.

    directory
        The data directory.
    emptied
        Recreate the data directory itself too.
    kind
        ``aside`` or ``undo``.
    room
        Whether the disk must have room for new data of the same size.

    Returns its new path. Raises ``NoRoom``, a ``ValueError``, before anything is moved, if the disk has no room for old and new
    data at the same time, and ``ValueError`` if a part is a mount point, which cannot be moved.
    """
    directory, stamp = Path(directory), int(time.time())
    parts = [directory, *_linked(directory)]
    reason = obstacle(directory)
    if reason:
        raise ValueError(f"{reason}; nothing was changed. Next: move its content elsewhere by hand")
    for part in parts if room else ():
        needed, free = _ROOM * _size(part), shutil.disk_usage(part).free
        if free < needed:
            raise NoRoom(
                f"{part} has {_size(part) / 1024**3:.1f} GiB and its disk {free / 1024**3:.1f} GiB free: no room for old and "
                "new data at the same time; nothing was changed. Next: free disk space, or move the data elsewhere by hand"
            )
    for part in parts:
        facts = part.stat()
        _move(part, _aside(part, stamp, kind))
        if part != directory or emptied:
            part.mkdir(mode=facts.st_mode & 0o777)
            os.chown(part, facts.st_uid, facts.st_gid)
    return str(_aside(directory, stamp, kind))


def paths(directory, kind=ASIDE):
    """Return the paths of all data of a kind that was moved aside for ``directory``, tablespaces included, oldest first."""
    directory = Path(directory)
    parts = [directory, *_linked(directory)]
    return sorted(str(path) for part in parts for path in part.parent.glob(f"{part.name}.{kind}-{_STAMP}"))


def delete(directory, kind=ASIDE):
    """Delete the data of a kind that was moved aside for ``directory``. Return the freed space in bytes."""
    freed = 0
    for path in map(Path, paths(directory, kind)):
        freed += _size(path)
        # After an interruption it must not look like whole data.
        gone = path.with_name(f"{path.name}.deleted")
        try:
            path.rename(gone)
        except OSError:  # on an overlay
            gone = path
        shutil.rmtree(gone)
    return freed


def put_back(directory):
    """
    Put the newest data of the kind ``undo`` back in place of what is there, which is deleted. Return the path that it had.

    directory
        The data directory. What is in it must be reproducible.

    Raises ``ValueError``, before any change, if no such data is there.
    """
    directory = Path(directory)
    kept = [path for path in paths(directory, UNDO) if Path(path).parent == directory.parent]
    if not kept:
        raise ValueError(f"{directory} has no data of before a restore; nothing was changed")
    newest = Path(kept[-1])
    suffix = newest.name.removeprefix(directory.name)
    # The links of the former data lead to the places from which its tablespaces were moved.
    for part in [*_linked(newest), directory]:
        former = part.with_name(part.name + suffix)
        if former.exists():
            shutil.rmtree(part, ignore_errors=True)
            _move(former, part)
    return str(newest)


def _move(part, target):
    """Rename ``part``; across file systems, as on an overlay, copy it with all attributes and delete the original."""
    try:
        part.rename(target)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        copy = target.with_name(f"{target.name}.copy")  # until it is complete
        subprocess.run(["cp", "-a", "--reflink=auto", str(part), str(copy)], check=True, capture_output=True)
        os.replace(copy, target)
        shutil.rmtree(part)


def _aside(part, stamp, kind):
    return part.with_name(f"{part.name}.{kind}-{stamp}")


def _linked(directory):
    """Return the directories outside that a PostgreSQL data directory links to: tablespaces and WAL."""
    links = [directory / "pg_wal", *sorted((directory / "pg_tblspc").glob("*"))]
    return [link.resolve() for link in links if link.is_symlink() and link.resolve().is_dir()]


def _size(directory):
    """Return the disk usage of a directory in bytes; links are not followed."""
    files = (Path(folder, name) for folder, _, names in os.walk(directory) for name in names)
    return sum(_blocks(path) for path in files)


def _blocks(path):
    try:
        return path.lstat().st_blocks * 512
    except FileNotFoundError:
        return 0
