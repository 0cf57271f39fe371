"""
What was decided, written down and said: in the history, and on the event bus as ``fanatico/<kind>/<decision>``.
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
    """Write a decision to the history and say it on the event bus; return the entry."""
    entry = fanatico_history.append(history(opts), kind, decision, **facts)
    with salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=False) as bus:
        bus.fire_event(entry, f"fanatico/{kind}/{decision}")
    return entry


def left_over(opts):
    """Write down what had the lock and ended without a word; return who it was, or None."""
    left = fanatico_lock.abandoned(home(opts))
    if left:
        reason = left.get("failed") or _without_a_word(left)
        note(opts, left["purpose"], "failed", reason=reason, took=round(time.time() - left["since"], 1))
    return left


def _without_a_word(left):
    what = f"{left['purpose']} {left['detail']}" if left.get("detail") else left["purpose"]
    return (
        f"{what}: its process (pid {left.get('pid')}) ended without a word: killed, or the master's host went down. "
        f"Next: look at the hosts (salt-run fanatico.status), then run it again"
    )
