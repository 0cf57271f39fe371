"""
Backups: the repository knows this cluster and has a first backup.
"""

from salt.exceptions import CommandExecutionError

import fanatico_backup_checks
import fanatico_state
import fanatico_wait


def repository_present(name, timeout=60):
    """
    Ensure that the repository knows this cluster, and start the first backup if there is none.

    The first backup runs in the background: health is degraded until it has ended.

    name
        The directory of the repository.
    timeout
        Seconds to wait for the primary.
    """
    me = __opts__["id"]
    try:
        known = __salt__["fanatico_backup.info"]()
        missing = known["code"] in fanatico_backup_checks.NO_STANZA
        first = not known["backups"] and not _running()
        changes = {name: {"old": None, "new": "created"}} if missing else {}
        changes |= {"first backup": {"old": None, "new": "started"}} if first else {}
        if known["code"] not in (fanatico_backup_checks.OK, fanatico_backup_checks.NO_BACKUP) and not missing:
            text = f"{me}: the repository {name}: {known['message']}. Next: salt {me} fanatico_backup.info"
            return fanatico_state.answer(name, False, text)
        if not changes:
            return fanatico_state.answer(name, True, f"{len(known['backups'])} backups")
        if __opts__["test"]:
            return fanatico_state.answer(name, None, "the repository would be created", changes)
        if missing:
            _create(timeout)
        if first:
            __salt__["fanatico_backup.make"]("full")
    except CommandExecutionError as exc:
        return fanatico_state.answer(name, False, f"{exc}. Next: salt {me} fanatico_backup.info")
    return fanatico_state.answer(name, True, "the repository is ready", changes)


def _running():
    """Return whether the first backup runs already."""
    unit = "fanatico-backup@full.service"
    return __salt__["fanatico_unit.states"](unit)[unit]["active"] in ("active", "activating")


def _create(timeout):
    def attempt():
        __salt__["fanatico_backup.create_stanza"]()
        return True, None

    done, seen = fanatico_wait.until(attempt, timeout, interval=2)
    if not done:
        raise CommandExecutionError(str(seen))
