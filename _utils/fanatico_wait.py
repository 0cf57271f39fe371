"""Waiting, always bounded: poll until it is so, or say what was awaited and what was seen instead."""

import contextvars
import queue
import threading
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


def gather(probes, timeout):
    """
    Call every probe in a thread of its own and wait for them together.

    probes
        ``{name: callable}``. A probe has its own, shorter timeouts; this one is the last resort.
    timeout
        Seconds, for all of them together.

    Returns ``{name: (value, None)}``, or ``{name: (None, exception)}`` for a probe that raised or was not
    back in time (``TimeoutError``). The threads are daemons: one that hangs is left behind, never waited
    for.
    """
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def run(name, probe):
        try:
            answers.put((name, (probe(), None)))
        except Exception as exc:  # noqa: BLE001 - whatever a probe raises is its answer
            answers.put((name, (None, exc)))

    for name, probe in probes.items():
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(run, name, probe), name=name, daemon=True).start()
    results: dict[str, tuple] = {}
    deadline = time.monotonic() + timeout
    while len(results) < len(probes):
        try:
            name, result = answers.get(timeout=max(0, deadline - time.monotonic()))
        except queue.Empty:
            break
        results[name] = result
    late = TimeoutError(f"no answer within {timeout:g} s")
    return {name: results.get(name, (None, late)) for name in probes}


def timeout_message(host, awaited, timeout, seen, unit="", journal=""):
    """Return the message for a wait that ran out: what was awaited, what was seen, the unit's last lines."""
    message = f"{host}: waited {timeout:g} s for {awaited}; seen instead: {seen}."
    if unit:
        message += f" Next: systemctl status {unit}"
    if journal:
        message += f"; its last lines:\n{journal}"
    return message
