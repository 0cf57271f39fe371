"""
Clones on a backup host: the databases as they were at a moment, for a person, away from the cluster.

What can be restored is decided on the master (``fanatico.restore_plan``).
"""

import json
import pathlib
import shutil

from salt.exceptions import CommandExecutionError

import fanatico_backup_checks
import fanatico_plan
import fanatico_probe

__virtualname__ = "fanatico_backup"

UNIT = "fanatico-clone.service"
_ARGUMENTS = "/run/fanatico-clone/arguments"
_REPORT = "/var/lib/fanatico-backup/clone.json"


def __virtual__():
    return __virtualname__


def _me():
    return __opts__["id"]


def _directory():
    return pathlib.Path(fanatico_plan.setting(__pillar__, "backup:clone_directory"))


def reach() -> dict:
    """
    Return what can be restored, and what it needs.

    ``{"backups": as in info, "newest": time of the last WAL in the repository in seconds since 1970 or None, "free": bytes for a
    clone, "drill": last report or None}``.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.reach
    """
    files = __salt__["fanatico_backup.files"]("archive/main")
    parent = next(path for path in _directory().parents if path.exists())
    return {
        "backups": __salt__["fanatico_backup.info"]()["backups"],
        "newest": fanatico_backup_checks.newest(files),
        "free": shutil.disk_usage(parent).free,
        "drill": __salt__["fanatico_backup.last_drill"](),
    }


def clone(backup: str, target: float | None = None) -> dict[str, str]:
    """
    Start to make a clone in the background and return ``{"unit": its name}``. Use ``salt-run fanatico.clone``.

    backup
        The label of the backup to restore.
    target
        The moment in seconds since 1970; None: the end of the WAL.

    Raises ``CommandExecutionError`` where there is a clone already.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.clone 20261130-155731F 1796054300
    """
    state = __salt__["fanatico_unit.states"](UNIT)[UNIT]["active"]
    if state in ("active", "activating") or _directory().exists():
        raise CommandExecutionError(
            f"{_me()}: there is a clone already, in {_directory()}. Nothing was changed. Next: salt-run fanatico.clone_drop"
        )
    if backup not in [one["label"] for one in __salt__["fanatico_backup.info"]()["backups"]]:
        raise CommandExecutionError(
            f"{_me()}: there is no backup {backup!r}. Next: salt {_me()} fanatico_backup.info"
        )
    moment = "" if target is None else repr(float(target))
    path = pathlib.Path(_ARGUMENTS)
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"BACKUP={backup}\nTARGET={moment}\n", encoding="ascii")
    pathlib.Path(_REPORT).unlink(missing_ok=True)
    _systemctl("start", "--no-block", UNIT)
    return {"unit": UNIT}


def clone_state() -> dict:
    """
    Return ``{"state": "none", "running", "ready" or "failed", "report": {...} or None, "command": how to open the clone}``.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.clone_state
    """
    active = __salt__["fanatico_unit.states"](UNIT)[UNIT]["active"]
    try:
        report = json.loads(pathlib.Path(_REPORT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        report = None
    if active == "activating":
        state = "running"
    elif report and report["error"]:
        state = "failed"
    else:
        state = "ready" if active == "active" else "none"
    command = f"runuser -u postgres -- psql -h {_directory()} -p 5498 fanatico"
    return {"state": state, "report": report, "command": command if state == "ready" else ""}


def clone_drop() -> bool:
    """
    Stop the clone and delete it. Returns whether there was one.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.clone_drop
    """
    directory = _directory()
    # Written by restored_copy.py: what has no mark is no clone.
    mark = directory.with_name(f"{directory.name}.copy")
    if directory.exists() and not mark.exists():
        raise CommandExecutionError(
            f"{_me()}: {directory} is no clone. Nothing was changed. Next: set backup:clone_directory to a path of its own"
        )
    there = directory.exists() or clone_state()["state"] != "none"
    _systemctl("stop", UNIT)
    if mark.exists():
        shutil.rmtree(directory, ignore_errors=True)
        mark.unlink()
    pathlib.Path(_REPORT).unlink(missing_ok=True)
    return there


def _systemctl(*words):
    done = fanatico_probe.run("systemctl", *words, timeout=120)
    if done.returncode:
        raise CommandExecutionError(f"{_me()}: systemctl {' '.join(words)}: {done.stderr.strip()}")
