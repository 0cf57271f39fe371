"""Waiting, always bounded: poll until it is so, or say what was awaited and what was seen instead."""

import time


def until(look, timeout, interval=0.5):
    """
    Poll until something is so.

    look
        Called again and again; returns ``(done, seen)``. ``seen`` is the answer, or the reason why not yet.
        What it raises counts as not yet.
    timeout
        Seconds; at least one look is taken.
    interval
        Seconds between two looks.

    Returns ``(True, seen)``, or ``(False, last seen)`` once the time is over.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            done, seen = look()
        except Exception as exc:  # noqa: BLE001 - a peer that is not there yet may fail in any way
            done, seen = False, str(exc) or type(exc).__name__
        if done or time.monotonic() >= deadline:
            return done, seen
        time.sleep(min(interval, max(0.0, deadline - time.monotonic())))


def ran_out(host, awaited, timeout, seen, unit="", journal=""):
    """Return the message for a wait that ran out: what was awaited, what was seen, the unit's last lines."""
    message = f"{host}: waited {timeout:g} s for {awaited}; seen instead: {seen}."
    if unit:
        message += f" Next: systemctl status {unit}"
    if journal:
        message += f"; its last lines:\n{journal}"
    return message
