"""
Clones on a backup host: the databases as they were at a moment, for a person, away from the cluster.

What can be restored is decided on the master (``fanatico.restore_plan``).
"""

import json
import pathlib
import shutil

from salt.exceptions import CommandExecutionError

import fanatico_backup_checks
import fanatico_file
import fanatico_pgbackrest
import fanatico_plan
import fanatico_probe
import fanatico_restore_target

__virtualname__ = "fanatico_backup"

UNIT = "fanatico-clone.service"
_ARGUMENTS = "/run/fanatico-clone/arguments"
_REPORT = "/var/lib/fanatico-backup/clone.json"
_RESTORES = "/var/lib/fanatico-backup/restores.json"
_KEEP = "/var/lib/fanatico-backup/expire.env"  # read by fanatico-backup@.service
_REMEMBERED = 100  # restores of the cluster


def __virtual__():
    return __virtualname__


def _me():
    return __opts__["id"]


def _directory():
    return pathlib.Path(fanatico_plan.setting(__pillar__, "backup:clone_directory"))


def count() -> int:
    """
    Return the number of backups in the repository; 0 where no cluster has used it yet.

    Raises ``CommandExecutionError`` if it is there and cannot be read.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.count
    """
    if not pathlib.Path(fanatico_plan.setting(__pillar__, "backup:path"), "backup").exists():
        return 0
    return len(__salt__["fanatico_backup.info"]()["backups"])


def reach(repository: str = fanatico_pgbackrest.LOCAL) -> dict:
    """
    Return what can be restored from a repository, and what it needs.

    ``{"backups": as in info, "newest": time of the last WAL in the repository in seconds since 1970 or None, "free": bytes for a
    clone, "drill": last report or None, "restores": [{"at", "moment", "before"}]}``; the restores of the whole cluster: when it
    began to serve, the moment to which it was restored, in seconds since 1970, and the timeline until then.

    repository
        ``local`` or ``s3``.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.reach
    """
    files = __salt__["fanatico_backup.files"]("archive/main", repository=repository)
    parent = next(path for path in _directory().parents if path.exists())
    info = __salt__["fanatico_backup.info"](repository=repository)
    return {
        "backups": info["backups"],
        "timeline": int(info.get("archive", {}).get("max", "0")[:8], 16),
        "newest": fanatico_backup_checks.newest(files),
        "free": shutil.disk_usage(parent).free,
        "drill": __salt__["fanatico_backup.last_drill"](),
        "restores": _restores(),
    }


def _restores():
    try:
        return json.loads(pathlib.Path(_RESTORES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []


def record_restore(at: float, moment: float, before: int) -> int:
    """
    Record that the whole cluster was restored: which backups belong to which moment. A step of ``orch.restore``.

    at
        When the restored cluster began to serve, in seconds since 1970.
    moment
        The moment to which it was restored, in seconds since 1970.
    before
        The timeline of the cluster until then.

    Returns how many are known. The same one is recorded once.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.record_restore 1796054400 1796050800 4
    """
    new = {"at": float(at), "moment": float(moment), "before": int(before)}
    known = [*(restore for restore in _restores() if restore != new), new][-_REMEMBERED:]
    path = pathlib.Path(_RESTORES)
    path.parent.mkdir(exist_ok=True)
    fanatico_file.replace(path, json.dumps(known), 0o644)
    return len(known)


def keep_all(keep: bool) -> bool:
    """
    Prevent that backups expire while a restore of the cluster is open, or allow it again. Returns ``keep``.

    keep
        Whether all are kept.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.keep_all False
    """
    path = pathlib.Path(_KEEP)
    if keep:
        path.parent.mkdir(exist_ok=True)
        fanatico_file.replace(path, "EXPIRE=--no-expire-auto\n", 0o644)
    else:
        path.unlink(missing_ok=True)
    return keep


def clone(
    backup: str,
    kind: str = "",
    value: str = "",
    timeline: int = 0,
    repository: str = fanatico_pgbackrest.LOCAL,
) -> dict[str, str]:
    """
    Start to make a clone in the background and return ``{"unit": its name}``. Use ``salt-run fanatico.clone``.

    backup
        The label of the backup to restore.
    kind, value
        The target: ``time`` with seconds since 1970, ``xid``, ``lsn``, ``name``; without them, the end of the WAL.
    timeline
        Its number; 0: the latest.
    repository
        ``local`` or ``s3``.

    Raises ``CommandExecutionError`` where there is a clone already.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.clone 20261130-155731F time 1796054300
    """
    state = __salt__["fanatico_unit.states"](UNIT)[UNIT]["active"]
    if state in ("active", "activating") or _directory().exists():
        raise CommandExecutionError(
            f"{_me()}: there is a clone already, in {_directory()}. Nothing was changed. Next: salt-run fanatico.clone_drop"
        )
    number = __salt__["fanatico_backup.index"](repository)
    known = __salt__["fanatico_backup.info"](repository=repository)["backups"]
    if backup not in [one["label"] for one in known]:
        raise CommandExecutionError(
            f"{_me()}: there is no backup {backup!r}. Next: salt {_me()} fanatico_backup.info repository={repository}"
        )
    try:
        variables = fanatico_restore_target.environment(backup, kind, value, timeline)
    except ValueError as exc:
        raise CommandExecutionError(f"{_me()}: {exc}. Nothing was changed") from exc
    path = pathlib.Path(_ARGUMENTS)
    path.parent.mkdir(exist_ok=True)
    variables["REPOSITORY"] = str(number)
    lines = "".join(f"{name}={text}\n" for name, text in variables.items())
    path.write_text(lines, encoding="ascii")
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
