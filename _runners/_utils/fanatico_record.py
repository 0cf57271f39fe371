"""
Decisions of the master: written to the history, and sent on the event bus as ``fanatico/<kind>/<decision>``.
"""

import time

import salt.utils.event

import fanatico_history
import fanatico_lock


def home(opts):
    """Return the directory of the lock and of the guard's memory."""
    return opts.get("fanatico_home", "/var/lib/fanatico")


def history(opts):
    """Return the path of the history."""
    return opts.get("fanatico_history", "/var/log/fanatico/history.jsonl")


def note(opts, kind, decision, **facts):
    """Write a decision to the history, send it on the event bus, and return the entry."""
    entry = fanatico_history.append(history(opts), kind, decision, **facts)
    with salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=False) as bus:
        bus.fire_event(entry, f"fanatico/{kind}/{decision}")
    return entry


def left_over(opts):
    """Write to the history which holder of the lock was killed; return that holder, or None."""
    left = fanatico_lock.abandoned(home(opts))
    if left:
        facts = {"reason": left.get("failed") or _killed(left)}
        if left.get("code"):
            facts["code"] = left["code"]
        note(opts, left["purpose"], "failed", **facts, took=round(time.time() - left["since"], 1))
    return left


def _killed(left):
    what = f"{left['purpose']} {left['detail']}" if left.get("detail") else left["purpose"]
    return (
        f"{what}: its process (pid {left.get('pid')}) was killed, or the master's host went down. "
        f"Next: salt-run fanatico.status, then run it again"
    )
