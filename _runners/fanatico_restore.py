"""
Restore moments of the past: what can be restored, and a clone beside the cluster.
"""

import time

import fanatico_master
import fanatico_plan
import fanatico_record
import fanatico_restore
import fanatico_restore_journal
import fanatico_sweep
import fanatico_wait

__virtualname__ = "fanatico"


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def restore_plan(target="latest", host="", in_place=False, committed=0, repository=""):
    """
    Return what a restore to a moment would do. Changes nothing.

    target
        ``latest``; a time with its zone, ``2026-11-28 12:00:00+00``; ``xid:4711``; ``lsn:0/5000060``; ``name:`` and a name given
        to ``pg_create_restore_point``.
    host
        The backup host; default: the first of the plan.
    in_place
        For ``orch.restore``, not for a clone: the space on the backup host does not matter.
    committed
        Seconds since 1970 of a moment before a commit that is in the repository.
    repository
        ``local`` or ``s3``; default: the first of them from which the moment can be restored. In place it is ``local`` alone: the
        database hosts do not reach S3.

    Returns ``{"host", "repository", "target", "kind", "value", "moment": seconds since 1970, "timeline": 0 for the latest,
    "backup": label, "earliest", "latest": what can be restored, "bytes", "free", "seconds": an estimate, by the rate of the
    last drill}``. Raises where the moment cannot be restored, with the nearest that can.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.restore_plan
        salt-run fanatico.restore_plan '2026-11-28 12:00:00+00'
    """
    host = _host(host)
    refused = []
    known = fanatico_restore_journal.recorded(fanatico_record.home(__opts__))
    for name in [repository] if repository else _repositories(host, in_place):
        try:
            reach = _reach(host, name)
            reach["restores"] = [*reach["restores"], *(one for one in known if one not in reach["restores"])]
            found = fanatico_restore.plan(target, reach, time.time(), in_place, committed)
        except fanatico_restore.Refused as exc:
            refused.append(f"{host}, repository {name}: {exc}. Nothing was changed.")
        else:
            return {"host": host, "repository": name, **found}
    return fanatico_master.refuse("\n".join(refused))


def _repositories(host, in_place):
    return ["local"] if in_place else _ask(host, "fanatico_backup.repositories", 15)


def clone(target="latest", host="", repository=""):
    """
    Make a clone on a backup host, and wait until it is ready: all databases as they were at a moment, in their own PostgreSQL.

    The cluster is not touched. It stays until ``fanatico.clone_drop``; there is one at a time.

    target, host, repository
        As for ``restore_plan``.

    Returns ``{"host", "repository", "target", "backup", "seconds", "command": how to open it on the host}``. Raises where the
    moment cannot be restored, and where the restore fails. Where it takes longer than three times the estimate, the clone
    goes on, and the message says how to look.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.clone '2026-11-28 12:00:00+00'
    """
    plan = restore_plan(target, host, repository=repository)
    host = plan["host"]
    asked = ("backup", "kind", "value", "timeline", "repository")
    _ask(host, "fanatico_backup.clone", 30, *(plan[name] for name in asked))
    limit = 60 + 3 * plan["seconds"]

    def ended():
        state = _ask(host, "fanatico_backup.clone_state", 15)
        return state["state"] in ("ready", "failed", "none"), state

    done, state = fanatico_wait.until(ended, limit, interval=2)
    look = f"salt {host} fanatico_backup.clone_state"
    if not done:
        fanatico_master.refuse(f"{host}: the clone is not ready after {limit} s; it goes on. Next: {look}")
    report = state["report"] or {}
    if state["state"] != "ready":
        why = report.get("error") or "its unit has ended"
        fanatico_master.refuse(
            f"{host}: the clone failed: {why}. Next: journalctl -u fanatico-clone -n 50 on {host}"
        )
    return {
        "host": host,
        "repository": plan["repository"],
        "target": plan["target"],
        "backup": plan["backup"],
        "seconds": report["seconds"],
        "command": state["command"],
    }


def clone_drop(host=""):
    """
    Delete the clone of a backup host.

    host
        The backup host; default: the first of the plan.

    Returns ``{"host", "dropped": whether there was one}``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.clone_drop
    """
    host = _host(host)
    return {"host": host, "dropped": _ask(host, "fanatico_backup.clone_drop", 130)}


def _reach(host, repository):
    """Return what can be restored from a repository; raises ``Refused`` where it cannot be read."""
    answer = _answer(host, "fanatico_backup.reach", 70, repository)
    if isinstance(answer, str):
        raise fanatico_restore.Refused(answer)
    return answer


def _host(host):
    """Return the backup host; raises where the plan has none."""
    plan = fanatico_master.plan(__opts__)
    if host:
        return fanatico_master.known(plan, host, "backup")[0]
    found = fanatico_plan.nodes(plan, "backup")
    if not found:
        fanatico_master.refuse(
            "The plan has no host with the role backup. Nothing was changed. Next: docs/backup.md"
        )
    return found[0]


def _ask(host, function, timeout, *arguments):
    """Return a host's answer; raises where it does not answer or refuses."""
    answer = _answer(host, function, timeout, *arguments)
    if isinstance(answer, str):  # the functions asked here return none: it is an error
        fanatico_master.refuse(answer)
    return answer


def _answer(host, function, timeout, *arguments):
    """Return a host's answer, its error as a text; raises where it does not answer."""
    answer = fanatico_sweep.fanout(__opts__, [host], function, arguments, timeout).get(host)
    if answer is None:
        fanatico_master.refuse(
            f"{host}: no answer to {function} within {timeout} s. Next: salt {host} test.ping"
        )
    return answer.strip().removeprefix("ERROR: ")[-500:] if isinstance(answer, str) else answer
