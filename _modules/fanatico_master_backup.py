"""
Health of the Salt master's own backup, on the master. ``salt-run fanatico.master_backup`` makes it.
"""

import pathlib
import time

import fanatico_file
import fanatico_master_copies
import fanatico_plan

_SHOWN = "/var/lib/fanatico/passphrase-shown"  # ./bootstrap-master --passphrase writes it


def probe(timeout: float = 2) -> dict:
    """
    Probe the backups of the master once: ``{"facts": {...}, "checks": {name: check}}``. Never raises.

    timeout
        Not used: nothing is awaited.

    CLI Example:

    .. code-block:: bash

        salt salt fanatico_master_backup.probe
    """
    settings = fanatico_plan.setting(__pillar__, "backup:master")
    directory = pathlib.Path(settings["path"])
    try:
        state = fanatico_file.read_json(directory / fanatico_master_copies.STATE)
    except (OSError, ValueError) as exc:
        state = {"error": str(exc)}
    intact = bool(state.get("file")) and fanatico_file.sha256(directory / state["file"]) == state["sha256"]
    me = __opts__["id"]
    hosts = [node for node in fanatico_plan.nodes(__pillar__["plan"], "backup") if node != me]
    check = fanatico_master_copies.on_master(state, intact, _shown(), hosts, settings, time.time())
    return {"facts": {"state": state}, "checks": {"master.backup": check}}


def checks(timeout: float = 2) -> dict[str, dict]:
    """
    Return the checks of the backups of the master, ``{name: check}``.

    timeout
        Not used: nothing is awaited.

    CLI Example:

    .. code-block:: bash

        salt salt fanatico_master_backup.checks
    """
    return probe(timeout)["checks"]


def _shown():
    """Return whether the passphrase that is in force was shown to an operator."""
    tree = fanatico_plan.setting(__pillar__, "master:tree")
    present = fanatico_file.sha256(pathlib.Path(tree, "pillar/secrets/master.sls"))
    try:
        return bool(present) and pathlib.Path(_SHOWN).read_text(encoding="ascii").strip() == present
    except (OSError, ValueError):
        return False
