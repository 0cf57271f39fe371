"""
Which events are worth a thought: each fault once in a while, and of all no more than could be acted on. Pure.

A thought costs the master a process and a second of CPU. Whoever floods it with events, by mistake or on purpose, must not have
a thousand of them; what is true is told again a minute later, or found by ``fanatico.reconcile``.
"""

AGAIN = 4  # seconds until the same fault of the same host is worth another, where not said otherwise
BURST, A_SECOND = 12, 0.5  # so many at once, and so many more each second


def counts(memory, subject, now, again=AGAIN):
    """
    Return whether an event is worth a thought, and remember it.

    memory
        A dict that the caller keeps; it does not grow beyond what a few seconds let in.
    subject
        What it is about, for example ``db1/patroni.service``.
    now
        Seconds of a clock that never jumps.
    again
        Seconds until the same subject is worth another thought.
    """
    left = min(BURST, memory.get("left", BURST) + (now - memory.get("when", now)) * A_SECOND)
    last = {known: when for known, when in memory.get("last", {}).items() if now - when < again}
    let_in = left >= 1 and subject not in last
    if let_in:
        left, last[subject] = left - 1, now
    memory.update(left=left, when=now, last=last)
    return let_in
