"""
Room for WAL on a database host whose PostgreSQL cannot start, because WAL that waits has filled the disk.

PostgreSQL needs space for one more segment before it starts, and only a running one archives: it does not get out of this alone,
also when the repository is back.
"""

import hashlib
import os
import pathlib
import re

from salt.exceptions import CommandExecutionError

import fanatico_postmaster
import fanatico_probe

__virtualname__ = "fanatico_archive"

_SEGMENT = re.compile(r"[0-9A-F]{24}")
_MOST = 8  # segments: PostgreSQL needs one, and then makes room itself
_CONTROL = re.compile(r"^(Latest checkpoint's REDO WAL file|Bytes per WAL segment): +(\S+)$", re.MULTILINE)


def __virtual__():
    return __virtualname__


def make_room() -> dict:
    """
    Send the oldest segments of WAL that PostgreSQL does not need to start, and remove those that every repository has.

    A segment is removed only after its checksum was found in the list of each repository. A replica that lags behind them is
    cloned again.

    Returns ``{"removed": [names], "free": bytes}``. Raises ``CommandExecutionError``, with nothing removed, where PostgreSQL
    runs, where there is room, where no segment can be spared, and where a repository does not answer.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_archive.make_room
    """
    wanted = __salt__["fanatico_postgres.wanted"]()
    data = pathlib.Path(wanted["data_dir"])
    if fanatico_postmaster.pid(data):
        _refuse(
            "PostgreSQL runs: it makes room itself once WAL is archived",
            "salt ME fanatico_archive.probe",
        )
    redo, size = _control(pathlib.Path(wanted["bin_dir"]), data)
    if _free(data) >= 2 * size:
        _refuse("there is room for WAL", "systemctl restart patroni; journalctl -u patroni -n 50")
    spare = _spare(data / "pg_wal", redo)
    if not spare:
        _refuse("PostgreSQL needs every segment of WAL that is there", "a larger disk for pg_wal")
    for path in spare:
        _send(path)
    copies = {path: f"{path.name}-{_sha1(path)}" for path in spare}
    for number in __salt__["fanatico_backup.indexes"]():
        there = __salt__["fanatico_backup.archived"](number)
        lacking = [path.name for path, name in copies.items() if name not in there]
        if lacking:
            _refuse(f"repository {number} lacks {', '.join(lacking)}", "tail /var/log/pgbackrest/*.log on ME")
    for path in spare:
        path.unlink()
        (path.parent / "archive_status" / f"{path.name}.done").unlink(missing_ok=True)
    return {"removed": [path.name for path in spare], "free": _free(data)}


def _refuse(why, next_step):
    me = __opts__["id"]
    raise CommandExecutionError(f"{me}: {why}. Nothing was removed. Next: {next_step.replace('ME', me)}")


def _control(programs, data):
    """Return the name of the first segment that a start needs, and the size of a segment in bytes."""
    done = fanatico_probe.run(programs / "pg_controldata", data)
    found = dict(_CONTROL.findall(done.stdout))
    if len(found) != 2:
        _refuse(
            f"pg_controldata does not name the last checkpoint: {done.stderr.strip()}", "look at the disk"
        )
    return found["Latest checkpoint's REDO WAL file"], int(found["Bytes per WAL segment"])


def _free(data):
    disk = os.statvfs(data / "pg_wal")
    return disk.f_bavail * disk.f_frsize


def _spare(wal, redo):
    """Return the oldest segments before the one of the last checkpoint, whatever their timeline."""
    segments = sorted(
        path for path in wal.iterdir() if _SEGMENT.fullmatch(path.name) and path.name[8:] < redo[8:]
    )
    return segments[:_MOST]


def _send(path):
    """Send a segment that waits, and mark it as archived, as PostgreSQL does."""
    ready = path.parent / "archive_status" / f"{path.name}.ready"
    if ready.exists():
        __salt__["fanatico_backup.push"](str(path))
        ready.rename(ready.with_suffix(".done"))


def _sha1(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()
