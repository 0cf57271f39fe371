"""
Backups, through pgBackRest. Everything runs as the user postgres.
"""

import json
import os
import pathlib
import time

from salt.exceptions import CommandExecutionError

import fanatico_backup_checks
import fanatico_pgbackrest
import fanatico_pgbackrest_run
import fanatico_plan
import fanatico_probe
import fanatico_wait

TYPES = ("full", "diff", "incr")
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


def s3_configuration() -> str:
    """
    Return pgBackRest's configuration of the repository in S3 as text, with marks for the secrets; empty on a host without one.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.s3_configuration
    """
    return fanatico_pgbackrest.text(fanatico_pgbackrest.s3_sections(__pillar__, _me()))


def repositories() -> dict[str, int]:
    """
    Return the repositories of this host, ``{name: pgBackRest's index}``: ``local``, and ``s3`` where it has one there.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.repositories
    """
    return fanatico_pgbackrest.own(__pillar__, _me())


def indexes() -> list[int]:
    """
    Return pgBackRest's indexes of the repositories that the databases send WAL to.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_backup.indexes
    """
    known = fanatico_pgbackrest.repositories(__pillar__)
    return [one["index"] for one in known if one["name"] == fanatico_pgbackrest.LOCAL]


def index(repository: str) -> int:
    """
    Return pgBackRest's index of a repository of this host. Raises ``CommandExecutionError`` for another.

    repository
        ``local`` or ``s3``.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.index s3
    """
    known = repositories()
    if repository not in known:
        raise CommandExecutionError(
            f"{_me()}: there is no repository {str(repository)[:40]!r} here; there is {', '.join(known) or 'none'}. "
            "Nothing was changed. Next: docs/backup.md"
        )
    return known[repository]


def archive_command() -> str:
    """
    Return PostgreSQL's ``archive_command``.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_backup.archive_command
    """
    return fanatico_pgbackrest.archive_command(__pillar__["plan"])


def info(timeout: float = 30, repository: str = fanatico_pgbackrest.LOCAL) -> dict:
    """
    Return the backups in a repository, and how far the archived WAL reaches.

    ``{"code", "message", "backups": [{"label", "type", "start", "stop": seconds since 1970, "size", "stored": bytes, "error"}],
    "archive": {"min", "max"}}``. Raises ``CommandExecutionError`` if the repository cannot be read.

    timeout
        Seconds.
    repository
        ``local`` or ``s3``.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.info
        salt ops1 fanatico_backup.info repository=s3
    """
    printed = _run("info", "--output=json", timeout=timeout, repository=repository)
    return fanatico_backup_checks.read(_parsed("info", printed))


def make(kind: str = "incr", repository: str = fanatico_pgbackrest.LOCAL) -> str:
    """
    Start a backup in the background and return the name of its unit. The next ``fanatico.health`` shows the result.

    kind
        ``full``; ``diff``: what has changed since the last full backup; ``incr``: since the last backup.
    repository
        ``local`` or ``s3``. One backup runs at a time; the other waits.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.make full
    """
    if kind not in TYPES:
        raise CommandExecutionError(
            f"{_me()}: {kind!r} is no type of a backup; the types are {', '.join(TYPES)}. Nothing was changed"
        )
    index(repository)
    which = "" if repository == fanatico_pgbackrest.LOCAL else f"-{repository}"
    return _start(f"fanatico-backup{which}@{kind}.service")


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

    ``{"began", "target": seconds since 1970 (target: None for the end of the WAL), "repository": pgBackRest's index, "backup":
    label, "error": text, "seconds",
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


def check(timeout: float = 90, repository: str = fanatico_pgbackrest.LOCAL) -> str:
    """
    Prove that archiving works: switch to a new segment of WAL and wait until the repository has the former one.

    timeout
        Seconds.
    repository
        ``local``, or ``s3`` for both.

    Returns an empty text. Raises ``CommandExecutionError`` with pgBackRest's message.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.check
    """
    limit = f"--archive-timeout={max(1, int(timeout * 0.8))}"
    return _run("check", limit, *_without_s3(repository), timeout=timeout).strip()


def create_stanza(timeout: float = 60, repository: str = fanatico_pgbackrest.LOCAL) -> str:
    """
    Create the part of the repository for this cluster; nothing happens if it exists. The primary has to run.

    timeout
        Seconds.
    repository
        ``local``, or ``s3`` for both.

    Returns an empty text. Raises ``CommandExecutionError`` with pgBackRest's message, for example if the repository belongs to
    another cluster; nothing is changed where the file system of the repository is not mounted.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.create_stanza
    """
    lost = __salt__["fanatico_backup.lost"]()
    if lost:
        raise CommandExecutionError(f"{_me()}: {lost}")
    return _run("stanza-create", *_without_s3(repository), timeout=timeout).strip()


def _without_s3(repository):
    """Return the option with which pgBackRest does not read the settings of S3: these commands take no index."""
    index(repository)
    return [f"--config={fanatico_pgbackrest.FILE}"] if repository == fanatico_pgbackrest.LOCAL else []


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


def files(folder: str, timeout: float = 60, repository: str = fanatico_pgbackrest.LOCAL) -> dict[str, dict]:
    """
    Return the files of a repository below a folder, ``{path: {"time": seconds since 1970, "size": bytes}}``.

    folder
        For example ``archive/main``.
    timeout
        Seconds.
    repository
        ``local`` or ``s3``.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.files archive/main
    """
    printed = _run("repo-ls", "--recurse", "--output=json", folder, timeout=timeout, repository=repository)
    listed = _parsed("repo-ls", printed)
    return {
        path: {"time": entry["time"], "size": entry["size"]}
        for path, entry in listed.items()
        if entry["type"] == "file"
    }


def probe(timeout: float = 2) -> dict:
    """
    Probe the repositories of this host once: ``{"facts": {...}, "checks": {name: check}}``. Never raises.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt ops1 fanatico_backup.probe
    """
    probes = {name: (lambda name=name: info(timeout, name)) for name in repositories()}
    answers = fanatico_wait.gather(probes | {"drill": last_drill}, timeout * 1.5)
    drilled, failed = answers.pop("drill")
    found = {
        name: {"info": answer} if error is None else {"error": str(error)}
        for name, (answer, error) in answers.items()
    }
    settings, now = fanatico_plan.setting(__pillar__, "backup"), time.time()
    facts = {**found.pop(fanatico_pgbackrest.LOCAL), **found, "lost": _lost()}
    if fanatico_pgbackrest.S3 in facts:
        facts["wal_to_s3"] = __salt__["fanatico_backup.wal_to_s3"]()
    facts["writable"] = os.access(
        settings["path"], os.W_OK
    )  # root's: False only where the file system is read-only
    facts |= {"drill": drilled} if failed is None else {"drill": {"began": 0, "error": str(failed)}}
    return {"facts": facts, "checks": fanatico_backup_checks.repository(facts, _me(), settings, now)}


def _lost():
    try:
        return __salt__["fanatico_backup.lost"]()
    except CommandExecutionError as exc:
        return str(exc)


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


def _parsed(command, printed):
    try:
        return json.loads(printed, strict=False)  # a message may contain control characters
    except ValueError as exc:
        raise CommandExecutionError(f"{_me()}: pgbackrest {command} printed no JSON: {exc}") from exc


def _run(command, *options, timeout, stanza=True, repository=None):
    """Run pgBackRest and return what it printed. Raises ``CommandExecutionError`` with its message."""
    named = [f"--repo={index(repository)}"] if repository else []
    try:
        return fanatico_pgbackrest_run.call(command, *named, *options, timeout=timeout, stanza=stanza)
    except fanatico_pgbackrest_run.Failed as exc:
        raise CommandExecutionError(f"{_me()}: {exc}") from exc
