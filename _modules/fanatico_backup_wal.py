"""
Single segments of WAL: sent where PostgreSQL does not run, and on their way to S3.
"""

import json
import pathlib
import re

from salt.exceptions import CommandExecutionError

import fanatico_pgbackrest_run

__virtualname__ = "fanatico_backup"

_WAL_TO_S3 = "/var/lib/fanatico-backup/wal-to-s3.json"
_STORED = re.compile(r"[0-9A-F]{24}-[0-9a-f]{40}")


def __virtual__():
    return __virtualname__


def push(path: str, timeout: float = 120) -> str:
    """
    Send one segment of WAL to the repositories and wait for it. Returns an empty text.

    path
        In the data directory of this host's PostgreSQL.
    timeout
        Seconds.

    Raises ``CommandExecutionError`` with pgBackRest's message.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_backup.push /var/lib/postgresql/17/main/pg_wal/000000010000000000000003
    """
    return _run("archive-push", "--no-archive-async", path, timeout=timeout).strip()


def archived(number: int, timeout: float = 60) -> list[str]:
    """
    Return the segments of WAL in a repository that this host sends to, each with its checksum: ``SEGMENT-SHA1``.

    number
        pgBackRest's index of the repository.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_backup.archived 1
    """
    if number not in __salt__["fanatico_backup.indexes"]():
        raise CommandExecutionError(
            f"{__opts__['id']}: there is no repository {number}. Nothing was changed. Next: docs/backup.md"
        )
    printed = _run("repo-ls", f"--repo={int(number)}", "--recurse", "archive/main", timeout=timeout)
    return sorted(set(_STORED.findall(printed)))


def wal_to_s3() -> dict | None:
    """
    Return the state of sending WAL to S3, None before it began.

    ``{"error": text, "waiting": files, "oldest": time of the oldest of them or None, "sent", "at": when this was written}``,
    times in seconds since 1970.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.wal_to_s3
    """
    try:
        found = json.loads(pathlib.Path(_WAL_TO_S3).read_text(encoding="utf-8"))
        return {key: found[key] for key in ("error", "waiting", "oldest", "sent", "at")}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as exc:
        return {"error": f"{_WAL_TO_S3} is damaged: {exc}", "waiting": 0, "oldest": None, "sent": 0, "at": 0}


def _run(command, *options, timeout):
    try:
        return fanatico_pgbackrest_run.call(command, *options, timeout=timeout)
    except fanatico_pgbackrest_run.Failed as exc:
        raise CommandExecutionError(f"{__opts__['id']}: {exc}") from exc
