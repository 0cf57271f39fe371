"""
The lock of the cluster, under which one change runs at a time: taken and released by orchestrations.
"""

import time

from salt.exceptions import CommandExecutionError

import fanatico_guard
import fanatico_lock
import fanatico_master
import fanatico_record
import fanatico_restore_journal

__virtualname__ = "fanatico"


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def lock(purpose, wait=60):
    """
    Lock the cluster against every other change until this process ends. One of the first steps of an orchestration.

    purpose
        What the lock is taken for, one word: the name of the orchestration. It appears in the history, and in the refusals that
        others get.
    wait
        Seconds to wait for the present holder; a cure that holds it gives way.

    Returns the holder. Raises ``CommandExecutionError`` where another change is still running after ``wait`` seconds.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.lock deploy
    """
    fanatico_record.left_over(__opts__)
    _refuse_during_a_restore(purpose)
    taken, holder = fanatico_lock.acquire(fanatico_record.home(__opts__), purpose, jid=_jid(), wait=wait)
    if not taken:
        raise CommandExecutionError(
            f"{purpose} was not started: {fanatico_lock.describe(holder)}, and only one change runs at a time. "
            f"Next: wait until it ends; if it hangs, run kill {holder['pid']} on the master, which releases the lock"
        )
    if not holder.get("depth"):  # else this is a step of the orchestration that has the lock
        fanatico_record.note(__opts__, purpose, "started")
    return holder


def _refuse_during_a_restore(purpose):
    """Raise where a restore of the whole cluster has not ended and ``purpose`` is no part of it."""
    try:
        reason = fanatico_restore_journal.objection(fanatico_record.home(__opts__), purpose)
    except ValueError as exc:
        reason = str(exc)
    if reason:
        raise CommandExecutionError(f"{purpose} was not started: {reason}")


def left_over():
    """
    Write to the history which change was killed: its process, or the master's host, went down while it held the lock.

    Called by the next ``fanatico.lock``, by ``fanatico.reconcile``, and when the master starts.

    Returns the former holder, or None.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.left_over
    """
    return fanatico_record.left_over(__opts__)


def unlock(force=False, reason="", host=""):
    """
    Release the lock. The last step of an orchestration; the step that fails releases it earlier (``fanatico.broke_off``).

    force
        Release it whoever holds it. Only for a holder that hangs and cannot be killed.
    reason, host
        The result, and the host that it is about, for the history.

    Returns the former holder, or None.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.unlock force=True
    """
    holder = fanatico_lock.release(fanatico_record.home(__opts__), force=force)
    if holder:
        facts = {name: value for name, value in (("host", host), ("reason", reason)) if value}
        took = round(time.time() - holder["since"], 1)
        fanatico_record.note(
            __opts__, holder["purpose"], "forced" if force else "finished", **facts, took=took
        )
    return holder


def broke_off(step, reason, purpose="", code=""):
    """
    Release the lock of an orchestration that failed, and write the reason to the history. Called by the step that failed.

    step
        The title of the step.
    reason
        Why it failed.
    purpose
        The name of the orchestration, where it failed before it had the lock.
    code
        A code for the history beside the reason: ``interrupted``.

    Returns the former holder, or None where this process has no lock.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.broke_off 'Bring up etcd' 'etcd2: no quorum'
    """
    facts = {"reason": fanatico_guard.printable(f"{step}: {reason}"), **({"code": code} if code else {})}
    holder = fanatico_lock.release(fanatico_record.home(__opts__), whole=True)
    if holder:
        took = round(time.time() - holder["since"], 1)
        fanatico_record.note(__opts__, holder["purpose"], "failed", **facts, took=took)
    elif purpose:
        fanatico_record.note(__opts__, purpose, "failed", **facts)
    else:
        fanatico_lock.will_fail(fanatico_record.home(__opts__), **facts)
    return holder


def locked():
    """
    Return which change is running, ``{"purpose", "detail", "pid", "since", "jid"}``, or None.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.locked
    """
    return fanatico_lock.holder(fanatico_record.home(__opts__))


def _jid():
    return globals().get("__jid__", "")
