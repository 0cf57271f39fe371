"""
Move the data of this database host aside, back, or away. Steps of ``orch.restore``, ``orch.restore_accept`` and
``orch.restore_undo``: nobody else calls them.
"""

import os
import pathlib
import shutil
import subprocess

from salt.exceptions import CommandExecutionError

import fanatico_aside
import fanatico_postmaster
import fanatico_restore_files

__virtualname__ = "fanatico_restore"


def __virtual__():
    return __virtualname__


def _me():
    return __opts__["id"]


def _data():
    return pathlib.Path(__salt__["fanatico_postgres.wanted"]()["data_dir"])


def set_aside() -> str:
    """
    Move the data of this host aside, where they stay until the restore is accepted or undone. Returns their path.

    Nothing happens where they are aside already, and where there is no data.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_restore.set_aside
    """
    state = __salt__["fanatico_restore.local_state"]()
    if state["restoring"] or not state["data"]:
        return (state["undo"] or [""])[-1]
    if fanatico_postmaster.pid(_data()):
        raise CommandExecutionError(f"{_me()}: PostgreSQL runs; nothing was changed")
    try:
        # The room for the restored data was checked before PostgreSQL was stopped.
        return fanatico_aside.move(_data(), emptied=True, kind=fanatico_restore_files.UNDO, room=False)
    except (ValueError, OSError, subprocess.SubprocessError) as exc:
        raise CommandExecutionError(f"{_me()}: {exc}") from exc


def served() -> bool:
    """
    Note that the restored data of this host has begun to serve: from now on it is not reproducible.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_restore.served
    """
    fanatico_restore_files.mark(_data()).unlink(missing_ok=True)
    return True


def rejoin() -> str:
    """
    Make this host a replica of the restored primary: move its data aside and start Patroni, which clones the primary.

    Where the disk has no room for both, the data is deleted: the host that is kept for an undo has the same.

    Returns what was done.

    CLI Example:

    .. code-block:: bash

        salt db2 fanatico_restore.rejoin
    """
    if not pathlib.Path(fanatico_restore_files.HOLD).exists():
        return "nothing: Patroni is not held"
    if fanatico_postmaster.pid(_data()):
        raise CommandExecutionError(f"{_me()}: PostgreSQL runs; nothing was changed")
    data, done = _data(), "no data was there"
    if (data / "global" / "pg_control").exists():
        try:
            done = f"the former data are in {fanatico_aside.move(data, emptied=True, kind=fanatico_restore_files.UNDO)}"
        except fanatico_aside.NoRoom:
            fanatico_aside.empty(data)
            done = "the former data are deleted: no room for both"
    __salt__["fanatico_restore.release"]()
    return f"clone started; {done}"


def put_back(clone: bool = False) -> str:
    """
    Put the data before the restore back in place. Restored data that has not served is deleted, other data kept as ``undone``.

    clone
        Whether a host without data of before shall clone them: its present data is moved aside, too.

    Returns the path that the data had; empty where this host's data was not moved.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_restore.put_back
    """
    found = __salt__["fanatico_restore.local_state"]()
    if not (found["undo"] or clone):
        return ""
    if not found["held"]:
        raise CommandExecutionError(f"{_me()}: Patroni is not held; nothing was changed")
    __salt__["fanatico_restore.forget"]()
    if fanatico_postmaster.pid(_data()):
        raise CommandExecutionError(f"{_me()}: PostgreSQL runs; nothing was changed")
    try:
        if found["undo"]:
            _add_histories(pathlib.Path(found["undo"][-1]), found)
            if found["data"] and not found["restoring"]:
                fanatico_aside.move(_data(), kind=fanatico_restore_files.UNDONE, room=False)
            # Without it, what an interrupted run leaves counts as data that served, and is kept.
            fanatico_restore_files.mark(_data()).unlink(missing_ok=True)
            return fanatico_aside.put_back(_data())
        if found["data"]:
            _make_room()
    except (ValueError, OSError, subprocess.SubprocessError) as exc:
        raise CommandExecutionError(f"{_me()}: {exc}") from exc
    return ""


def _make_room():
    """Move the data of a replica aside, or delete it: the host that was restored has the same."""
    try:
        fanatico_aside.move(_data(), emptied=True, kind=fanatico_restore_files.UNDONE)
    except fanatico_aside.NoRoom:
        fanatico_aside.empty(_data())


def wipe() -> bool:
    """
    Delete restored data that has not served, on a host that had none before. Returns whether there was any.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_restore.wipe
    """
    __salt__["fanatico_restore.forget"]()
    mark = fanatico_restore_files.mark(_data())
    if not mark.exists():
        return False
    if fanatico_postmaster.pid(_data()):
        raise CommandExecutionError(f"{_me()}: PostgreSQL runs; nothing was changed")
    fanatico_aside.empty(_data())
    mark.unlink()
    return True


def _add_histories(former, found):
    """Write the history of the restored cluster's timelines into the pg_wal of the former data: ``reopen`` goes past them."""
    served = [_data()] if found["data"] and not found["restoring"] else []
    owner = former.stat()
    for data in [*map(pathlib.Path, found["undone"]), *served]:
        for source in (data / "pg_wal").glob("*.history"):
            path = former / "pg_wal" / source.name
            if path.parent.is_dir() and not path.exists():
                shutil.copyfile(source, path)
                path.chmod(0o600)
                os.chown(path, owner.st_uid, owner.st_gid)


def discard() -> int:
    """
    Delete the data of before the restore and of an undone restore: the restore is accepted. Returns the freed bytes.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_restore.discard
    """
    found = __salt__["fanatico_restore.local_state"]()
    if found["held"] or found["restoring"]:
        raise CommandExecutionError(
            f"{_me()}: the restored data does not serve here yet; nothing was deleted. Next: salt-run fanatico.restore_state"
        )
    return sum(
        fanatico_aside.delete(_data(), kind)
        for kind in (fanatico_restore_files.UNDO, fanatico_restore_files.UNDONE)
    )
