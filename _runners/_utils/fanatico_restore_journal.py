"""
The record of a restore of the whole cluster that is open, on the master: ``restore.json`` beside the lock.
"""

import pathlib

import fanatico_file
import fanatico_restore_steps

_RECORDED = "restores.json"
_OWN = ("restore", "restore_accept", "restore_undo")


def path(directory):
    """Return its path; ``directory`` is where the lock is."""
    return pathlib.Path(directory, "restore.json")


def read(directory):
    """Return it, ``{}`` where no restore is open. Raises ``ValueError`` if it is damaged."""
    return fanatico_file.read_json(path(directory))


def change(directory, **facts):
    """Change facts of it."""
    fanatico_file.change_json(path(directory), lambda before: ({**before, **facts}, None))


def begin(directory, journal):
    """Write a new one; one that is open is left as it is. Returns the one that is open."""
    return fanatico_file.change_json(path(directory), lambda before: (before or journal, before or journal))


def record(directory, restore):
    """Remember a restore for good: ``{"at", "moment", "before"}``, see ``fanatico_restore.history``."""

    def add(before):
        known = before.get("restores", [])
        return {"restores": known if restore in known else [*known, restore]}, None

    fanatico_file.change_json(pathlib.Path(directory, _RECORDED), add)


def recorded(directory):
    """Return all restores that ``record`` remembers. Raises ``ValueError`` if the file is damaged."""
    return fanatico_file.read_json(pathlib.Path(directory, _RECORDED)).get("restores", [])


def close(directory):
    """Forget it."""
    path(directory).unlink(missing_ok=True)


def objection(directory, purpose):
    """
    Return why a change of the cluster must wait for a restore; empty where it need not. Raises ``ValueError`` if it is damaged.

    purpose
        The name of an orchestration, ``heal`` or ``drill``.
    """
    journal = read(directory)
    if purpose in _OWN or journal.get("phase") not in fanatico_restore_steps.CLOSED:
        return ""
    commands = ", or: ".join(fanatico_restore_steps.next_steps(journal))
    return f"the cluster is being restored to {journal['target']} ({journal['phase']}). Next: {commands}"
