"""
The lock that keeps changes of the cluster apart: taken and given back by orchestrations, and looked at.
"""

import time

from salt.exceptions import CommandExecutionError

import fanatico_guard
import fanatico_lock
import fanatico_master
import fanatico_record

__virtualname__ = "fanatico"


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def lock(purpose, wait=60):
    """
    Keep every other change of the cluster away until this process ends. The first step of an orchestration.

    purpose
        What for, one word: an orchestration's name. It appears in the history, and in the refusals of the others.
    wait
        Seconds to wait for the present holder, usually a healing that takes two.

    Returns the holder. Raises ``CommandExecutionError`` when another change is still running after ``wait``
    seconds.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.lock deploy
    """
    fanatico_record.left_over(__opts__)
    taken, holder = fanatico_lock.acquire(fanatico_record.home(__opts__), purpose, jid=_jid(), wait=wait)
    if not taken:
        raise CommandExecutionError(
            f"This {purpose} was not started: {fanatico_lock.describe(holder)}, and only one "
            "change may be made at a time. Wait for it; if it hangs, end that process: the lock goes with it."
        )
    if not holder.get("depth"):  # else it is a step of what has the lock
        fanatico_record.note(__opts__, purpose, "started")
    return holder


def left_over():
    """
    Write down what was changing the cluster and ended without a word: its process was killed, or the master's host went down.

    Done by whoever takes the lock next, by ``fanatico.reconcile``, and when the master starts.

    Returns who it was, or None.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.left_over
    """
    return fanatico_record.left_over(__opts__)


def unlock(force=False, reason="", host=""):
    """
    Give the lock back. The last step of an orchestration; one that fails earlier gives it back by ending.

    force
        Take it from whoever has it. Only for a holder that hangs and cannot be ended.
    reason, host
        What came of it, and where, for the history.

    Returns the holder that lost it, or None.

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


def broke_off(step, reason, purpose=""):
    """
    Give the lock of an orchestration back that ends here, and write down why. Called by the step that failed.

    step
        What it is called.
    reason
        Why it failed.
    purpose
        What the orchestration is called, where it has failed before it had the lock.

    Returns the holder, or None where this process has no lock.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.broke_off 'Bring up etcd' 'etcd2: no quorum'
    """
    words = fanatico_guard.printable(f"{step}: {reason}")
    holder = fanatico_lock.release(fanatico_record.home(__opts__), whole=True)
    if holder:
        fanatico_record.note(
            __opts__, holder["purpose"], "failed", reason=words, took=round(time.time() - holder["since"], 1)
        )
    elif purpose:
        fanatico_record.note(__opts__, purpose, "failed", reason=words)
    else:
        fanatico_lock.will_fail(fanatico_record.home(__opts__), words)
    return holder


def locked():
    """
    Return what is changing the cluster right now, ``{"purpose", "detail", "pid", "since", "jid"}``, or None.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.locked
    """
    return fanatico_lock.holder(fanatico_record.home(__opts__))


def _jid():
    return globals().get("__jid__", "")
