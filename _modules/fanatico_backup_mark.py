"""
The mark of a repository: what was created on a file system is not created again below its mount point.
"""

import json
import pathlib
import secrets

from salt.exceptions import CommandExecutionError

import fanatico_file
import fanatico_plan

__virtualname__ = "fanatico_backup"

_MARK = "fanatico-repository"
_RECORD = "/etc/fanatico/backup-repository.json"  # root's, on the disk of the host


def __virtual__():
    return __virtualname__


def lost() -> str:
    """
    Return why the directory of the repository is not the one that was prepared on this host; empty if it is, or none ever was.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.lost
    """
    path, known = _path(), _record()
    if not known or known["path"] != str(path):
        return ""
    try:
        if _mark(path) == known["id"]:
            return ""
        why = f"its mark {_MARK} is missing"
    except OSError as exc:
        why = str(exc)
    return (
        f"{path} is not the repository that was created here, {why}: is its file system mounted? Nothing was changed. "
        f"Next: mount it, or give the former repository up: salt {__opts__['id']} fanatico_backup.forget_repository"
    )


def marked() -> bool:
    """
    Return whether the repository has its mark, and this host remembers it.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.marked
    """
    path, known = _path(), _record()
    return bool(known) and known == {"path": str(path), "id": _mark(path)}


def mark() -> bool:
    """
    Mark the repository and remember the mark; a mark that is there is kept. Returns whether anything was changed.

    Raises ``CommandExecutionError`` where the repository is lost.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.mark
    """
    why = lost()
    if why:
        raise CommandExecutionError(f"{__opts__['id']}: {why}")
    if marked():
        return False
    path = _path()
    number = _mark(path)
    if not number:
        number = secrets.token_hex(16)
        fanatico_file.replace(path / _MARK, f"{number}\n", 0o644)
    record = pathlib.Path(_RECORD)
    record.parent.mkdir(exist_ok=True)
    fanatico_file.replace(record, json.dumps({"path": str(path), "id": number}) + "\n", 0o644)
    return True


def forget_repository() -> bool:
    """
    Forget the mark, so that the next state creates a new repository in an empty directory. Deletes no backup.

    Returns whether there was a mark.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.forget_repository
    """
    record = pathlib.Path(_RECORD)
    there = record.exists()
    record.unlink(missing_ok=True)
    return there


def _path():
    return pathlib.Path(fanatico_plan.setting(__pillar__, "backup:path"))


def _mark(path):
    """Return the mark in a directory; empty without one."""
    try:
        return (path / _MARK).read_text(encoding="ascii", errors="replace")[:64].strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _record():
    """Return ``{"path", "id"}`` of the repository that was marked here; ``{}`` if none was."""
    try:
        found = json.loads(pathlib.Path(_RECORD).read_text(encoding="utf-8"))
        return {"path": found["path"], "id": found["id"]}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError) as exc:
        raise CommandExecutionError(
            f"{__opts__['id']}: {_RECORD} is damaged: {exc}. Next: look whether the repository is mounted, then delete the file"
        ) from exc
