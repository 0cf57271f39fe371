"""
The steps of ``orch.restore`` and ``orch.restore_undo`` that take as long as the data is large.
"""

import time

import fanatico_master
import fanatico_record
import fanatico_restore_journal
import fanatico_restore_scope
import fanatico_sweep
import fanatico_wait

__virtualname__ = "fanatico"


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def _home():
    return fanatico_record.home(__opts__)


def _journal():
    return fanatico_restore_journal.read(_home())


def restore_wait():
    """
    Wait until the host is restored; it takes as long as it takes. A step of ``orch.restore``.

    Returns ``{"host", "seconds"}``. Raises with the reason where it failed, and where the host does not answer for a minute.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.restore_wait
    """
    journal = _journal()
    host, heard = journal["host"], [time.monotonic(), None]

    def ended():
        state = fanatico_sweep.fanout(__opts__, [host], "fanatico_restore.state", (), 10).get(host)
        if isinstance(state, dict):
            heard[:] = time.monotonic(), state
            return state["state"] != "running", state
        return time.monotonic() - heard[0] > 60, None

    _, state = fanatico_wait.until(ended, 7 * 86400, interval=1)
    if state is None:
        fanatico_master.refuse(
            f"{host}: no answer for a minute. Next: start it, then run orch.restore again: it goes on"
        )
    if state["state"] not in ("stopped", "looking"):
        said = (state["report"] or {}).get("error")
        why = said or "its unit has ended: journalctl -u fanatico-restore -n 50"
        fanatico_master.refuse(
            f"{host}: the restore failed: {why}. The data of before are kept. Next: {fanatico_restore_scope.UNDO}"
        )
    report = state["report"]
    fanatico_restore_journal.change(_home(), reached=report.get("reached"), report=report)
    return {"host": host, "seconds": report["seconds"]}


def restore_backup():
    """
    Make a full backup and wait for it, at most three times as long as the restore took. A step of an orchestration.

    Returns ``{"host", "backup": label}``; ``backup`` is empty where it goes on in the background.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.restore_backup
    """
    journal = _journal()
    host = journal["backup_host"]
    limit = 120 + 3 * (journal.get("report") or {}).get("seconds", 0)

    def labels():
        info = fanatico_sweep.fanout(__opts__, [host], "fanatico_backup.info", (), 40).get(host)
        backups = info["backups"] if isinstance(info, dict) else []
        return {backup["label"] for backup in backups if backup["type"] == "full"}

    before = labels()
    fanatico_sweep.fanout(__opts__, [host], "fanatico_backup.make", ("full",), 20)

    def made():
        new = sorted(labels() - before)
        return bool(new), new

    done, new = fanatico_wait.until(made, limit, interval=2)
    return {"host": host, "backup": new[-1] if done else ""}
