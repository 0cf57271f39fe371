"""
Backups: the repository knows this cluster and has a first backup.
"""

from salt.exceptions import CommandExecutionError

import fanatico_backup_checks
import fanatico_state
import fanatico_wait


def mounted(name):
    """
    Refuse a directory that was a repository and is none now: its file system is not mounted. Changes nothing.

    name
        The directory of the repository.
    """
    why = __salt__["fanatico_backup.lost"]()
    if why:
        return fanatico_state.answer(name, False, f"{__opts__['id']}: {why}")
    return fanatico_state.answer(name, True, "no other repository is expected here")


def marked(name):
    """
    Ensure that the repository has a mark that this host remembers, for ``mounted``.

    name
        The directory of the repository.
    """
    if __salt__["fanatico_backup.marked"]():
        return fanatico_state.answer(name, True, "the repository has its mark")
    changes = {"mark": {"old": None, "new": "set"}}
    if __opts__["test"]:
        return fanatico_state.answer(name, None, "the repository would be marked", changes)
    try:
        __salt__["fanatico_backup.mark"]()
    except (CommandExecutionError, OSError) as exc:
        return fanatico_state.answer(name, False, f"{__opts__['id']}: the mark of {name}: {exc}")
    return fanatico_state.answer(name, True, "the repository is marked", changes)


def repository_present(name, repository="local", timeout=60):
    """
    Ensure that a repository knows this cluster, and start the first backup if there is none.

    The first backup runs in the background: health is degraded until it has ended. A repository in S3 that was created before and
    does not answer now is left to health: a deploy must be possible without it.

    name
        The repository for the messages: its directory, or its bucket.
    repository
        ``local`` or ``s3``.
    timeout
        Seconds to wait for the primary.
    """
    look = f"Next: salt {__opts__['id']} fanatico_backup.info repository={repository}"
    known, why = _answer(repository)
    if why:
        before = repository != "local" and __salt__["fanatico_backup.s3_created"]()
        added = "It was created before; health shows it. " if before else ""
        return fanatico_state.answer(name, before, f"{why}. {added}{look}")
    try:
        return _prepared(name, repository, known, timeout)
    except CommandExecutionError as exc:
        return fanatico_state.answer(name, False, f"{exc}. {look}")


def _answer(repository):
    """Return ``(what info returned, "")``, or ``(None, why the repository cannot be used)``; one without our stanza can be."""
    try:
        known = __salt__["fanatico_backup.info"](repository=repository)
    except CommandExecutionError as exc:
        return None, str(exc)
    usable = (fanatico_backup_checks.OK, fanatico_backup_checks.NO_BACKUP, *fanatico_backup_checks.NO_STANZA)
    if known["code"] in usable:
        return known, ""
    return None, f"{__opts__['id']}: the repository answers: {known['message']}"


def _prepared(name, repository, known, timeout):
    """Create what is missing in a repository that answers; return the result of the state."""
    missing = known["code"] in fanatico_backup_checks.NO_STANZA
    first = not known["backups"] and not _running(repository)
    changes = {name: {"old": None, "new": "created"}} if missing else {}
    changes |= {"first backup": {"old": None, "new": "started"}} if first else {}
    if changes and __opts__["test"]:
        return fanatico_state.answer(name, None, "the repository would be created", changes)
    if missing:
        _create(repository, timeout)
    if first:
        __salt__["fanatico_backup.make"]("full", repository)
    if repository != "local":
        __salt__["fanatico_backup.s3_note"]()
    if not changes:
        return fanatico_state.answer(name, True, f"{len(known['backups'])} backups")
    return fanatico_state.answer(name, True, "the repository is ready", changes)


def _running(repository):
    """Return whether the first backup runs already."""
    which = "" if repository == "local" else f"-{repository}"
    unit = f"fanatico-backup{which}@full.service"
    return __salt__["fanatico_unit.states"](unit)[unit]["active"] in ("active", "activating")


def _create(repository, timeout):
    def attempt():
        __salt__["fanatico_backup.create_stanza"](repository=repository)
        return True, None

    done, seen = fanatico_wait.until(attempt, timeout, interval=2)
    if not done:
        raise CommandExecutionError(str(seen))
