"""Wait with a timeout: poll a condition, or call several probes in parallel."""

import contextvars
import queue
import threading
import time


def until(poll, timeout, interval=0.5):
    """
    Poll a condition until it holds or the timeout expires.

    poll
        The poll function; returns ``(done, seen)``. ``seen`` is the result, or the reason why it is not done yet. An exception
        counts as not done.
    timeout
        Seconds; the function is called at least once.
    interval
        Seconds between two polls.

    Returns ``(True, seen)``, or ``(False, last seen)`` after the timeout.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            done, seen = poll()
        except Exception as exc:  # noqa: BLE001 - a peer that is not up yet may fail in any way
            done, seen = False, str(exc) or type(exc).__name__
        if done or time.monotonic() >= deadline:
            return done, seen
        time.sleep(min(interval, max(0.0, deadline - time.monotonic())))


def gather(probes, timeout):
    """
    Call every probe in its own thread and wait for all of them.

    probes
        ``{name: callable}``. A probe has its own, shorter timeouts; this one is the last resort.
    timeout
        Seconds for all probes together.

    Returns ``{name: (value, None)}``, or ``{name: (None, exception)}`` for a probe that raised or exceeded the timeout
    (``TimeoutError``). The threads are daemons: a hanging thread is abandoned.
    """
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def run(name, probe):
        try:
            answers.put((name, (probe(), None)))
        except Exception as exc:  # noqa: BLE001 - any exception of a probe is its result
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
    """
    Return the error message of a wait that timed out.

    host
        The host that waited.
    awaited
        The condition, in words.
    timeout
        Seconds.
    seen
        The last result of the poll.
    unit
        The unit to check next.
    journal
        The last log lines of the unit.
    """
    message = f"{host}: waited {timeout:g} s for {awaited}; last seen: {seen}."
    if unit:
        message += f" Next: systemctl status {unit}"
    if journal:
        message += f"; last log lines:\n{journal}"
    return message
