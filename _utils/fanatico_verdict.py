"""
Verdicts: what a check says, how several become one, and how they are looked at side by side.

A check is plain data: ``{"status", "value", "detail", "hint"}``. No I/O here beyond starting threads.
"""

import contextvars
import queue
import threading
import time

# Best first. "unknown" stands below "degraded": a fault that was seen says more than one that may be.
STATUSES = ("ok", "unknown", "degraded", "critical")


def check(status, value=None, detail="", hint=""):
    """
    Return one check.

    status
        One of ``STATUSES``.
    value
        What was seen, as plain data: a number, a name, a short list.
    detail
        One sentence for a person.
    hint
        What to type or look at next; empty where nothing is to be done.
    """
    if status not in STATUSES:
        raise ValueError(f"{status!r} is not one of {', '.join(STATUSES)}")
    return {"status": status, "value": value, "detail": detail, "hint": hint}


def ok(value=None, detail="", hint=""):
    """Return a check that holds."""
    return check("ok", value, detail, hint)


def degraded(value=None, detail="", hint=""):
    """Return a check of something that serves, with redundancy or a limit impaired."""
    return check("degraded", value, detail, hint)


def critical(value=None, detail="", hint=""):
    """Return a check of something that does not serve."""
    return check("critical", value, detail, hint)


def unknown(value=None, detail="", hint=""):
    """Return a check of something that could not be told."""
    return check("unknown", value, detail, hint)


def worst(statuses):
    """Return the worst of ``statuses``; ``unknown`` when there are none."""
    return max(statuses, key=STATUSES.index, default="unknown")


def overall(checks):
    """Return the status that ``checks`` (``{name: check}``) come to together."""
    return worst(one["status"] for one in checks.values())


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
