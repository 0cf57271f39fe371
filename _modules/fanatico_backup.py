"""
Backups, through pgBackRest: the only file that calls it. Everything runs as the user postgres.
"""

import json
import pathlib
import subprocess
import time

from salt.exceptions import CommandExecutionError

import fanatico_backup_checks
import fanatico_pgbackrest
import fanatico_plan
import fanatico_probe

TYPES = ("full", "diff", "incr")
_PROGRAM = "/usr/bin/pgbackrest"
_DRILL = "/var/lib/fanatico-backup/drill.json"


def _me():
    return __opts__["id"]


def configuration() -> str:
    """
    Return pgBackRest's configuration of this host as text, with a mark in place of the passphrase.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.configuration
    """
    return fanatico_pgbackrest.text(fanatico_pgbackrest.sections(__pillar__, _me()))


def archive_command() -> str:
    """
    Return PostgreSQL's ``archive_command``.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_backup.archive_command
    """
    return fanatico_pgbackrest.archive_command(__pillar__["plan"])


def info(timeout: float = 30) -> dict:
    """
    Return the backups in the repository, and how far the archived WAL reaches.

    ``{"code", "message", "backups": [{"label", "type", "start", "stop": seconds since 1970, "size", "stored": bytes, "error"}],
    "archive": {"min", "max"}}``. Raises ``CommandExecutionError`` if the repository cannot be read.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.info
    """
    return fanatico_backup_checks.read(json.loads(_run("info", "--output=json", timeout=timeout)))


def make(kind: str = "incr") -> str:
    """
    Start a backup in the background and return the name of its unit. The next ``fanatico.health`` shows the result.

    kind
        ``full``; ``diff``: what has changed since the last full backup; ``incr``: since the last backup.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.make full
    """
    if kind not in TYPES:
        raise CommandExecutionError(
            f"{_me()}: {kind!r} is no type of a backup; the types are {', '.join(TYPES)}. Nothing was changed"
        )
    return _start(f"fanatico-backup@{kind}.service")


def drill() -> str:
    """
    Start the restore drill in the background and return the name of its unit. ``last_drill`` shows the result.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.drill
    """
    return _start("fanatico-backup-drill.service")


def last_drill() -> dict | None:
    """
    Return the report of the last restore drill, None before the first.

    ``{"began", "target": seconds since 1970 (target: None for the end of the WAL), "backup": label, "error": text, "seconds",
    "restore_seconds", "recovery_seconds", "check_seconds", "behind_seconds": from the last heartbeat in the copy to the target,
    "bytes"}``; after a failure without the parts that were not reached. Raises ``CommandExecutionError`` if it is damaged.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.last_drill
    """
    try:
        return json.loads(pathlib.Path(_DRILL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as exc:
        raise CommandExecutionError(
            f"{_me()}: {_DRILL} is damaged: {exc}. Next: salt {_me()} fanatico_backup.drill"
        ) from exc


def _start(unit):
    done = fanatico_probe.run("systemctl", "start", "--no-block", unit)
    if done.returncode:
        raise CommandExecutionError(f"{_me()}: systemctl start {unit}: {done.stderr.strip()}")
    return unit


def check(timeout: float = 90) -> str:
    """
    Prove that archiving works: switch to a new segment of WAL and wait until the repository has the former one.

    timeout
        Seconds.

    Returns an empty text. Raises ``CommandExecutionError`` with pgBackRest's message.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.check
    """
    return _run("check", f"--archive-timeout={max(1, int(timeout * 0.8))}", timeout=timeout).strip()


def create_stanza(timeout: float = 60) -> str:
    """
    Create the part of the repository for this cluster; nothing happens if it exists. The primary has to run.

    timeout
        Seconds.

    Returns an empty text. Raises ``CommandExecutionError`` with pgBackRest's message, for example if the repository belongs to
    another cluster.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.create_stanza
    """
    return _run("stanza-create", timeout=timeout).strip()


def reachable(host: str, timeout: float = 5) -> bool:
    """
    Return whether pgBackRest on another host answers this one. Raises ``CommandExecutionError`` if it does not.

    host
        A node of the plan with the role backup or patroni.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_backup.reachable ops1
    """
    plan = __pillar__["plan"]
    address = fanatico_plan.address(plan, host)
    port = fanatico_plan.port(plan, "pgbackrest")
    _run(
        "server-ping",
        f"--tls-server-port={port}",
        f"--io-timeout={timeout:g}",
        address,
        timeout=timeout + 1,
        stanza=False,
    )
    return True


def files(folder: str, timeout: float = 60) -> dict[str, dict]:
    """
    Return the files of the repository below a folder, ``{path: {"time": seconds since 1970, "size": bytes}}``.

    folder
        For example ``archive/main``.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.files archive/main
    """
    listed = json.loads(_run("repo-ls", "--recurse", "--output=json", folder, timeout=timeout))
    return {
        path: {"time": entry["time"], "size": entry["size"]}
        for path, entry in listed.items()
        if entry["type"] == "file"
    }


def probe(timeout: float = 2) -> dict:
    """
    Probe the repository on this host once: ``{"facts": {...}, "checks": {name: check}}``. Never raises.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.probe
    """
    facts: dict
    try:
        facts = {"info": info(timeout), "drill": last_drill()}
    except CommandExecutionError as exc:
        facts = {"error": str(exc)}
    settings = fanatico_plan.setting(__pillar__, "backup")
    return {"facts": facts, "checks": fanatico_backup_checks.repository(facts, _me(), settings, time.time())}


def checks(timeout: float = 2) -> dict[str, dict]:
    """
    Return the checks of the repository on this host, ``{name: check}``.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.checks
    """
    return probe(timeout)["checks"]


def _run(command, *options, timeout, stanza=True):
    """Run pgBackRest as postgres and return what it printed. Raises ``CommandExecutionError`` with its message."""
    named = [f"--stanza={fanatico_pgbackrest.STANZA}"] if stanza else []
    argv = [
        "runuser",
        "-u",
        "postgres",
        "--",
        _PROGRAM,
        *named,
        "--log-level-console=off",
        "--log-level-stderr=error",
    ]
    try:
        done = fanatico_probe.run(*argv, command, *options, timeout=timeout)
    except subprocess.TimeoutExpired as exc:
        raise CommandExecutionError(f"{_me()}: pgbackrest {command}: no result within {timeout:g} s") from exc
    except OSError as exc:
        raise CommandExecutionError(f"{_me()}: pgbackrest {command}: {exc}") from exc
    if done.returncode:
        why = " ".join((done.stderr or done.stdout).split())[-500:]
        raise CommandExecutionError(
            f"{_me()}: pgbackrest {command} failed with code {done.returncode}: {why}"
        )
    return done.stdout
