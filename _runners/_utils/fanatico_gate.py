"""
Which events are worth a look: of each host a few at once and one now and then. Pure.

A look costs the master a question to that host. Each host has a share of its own, so whoever floods the master with events, by
mistake or on purpose, takes nothing from the others: a look shows everything that the host has reported, whatever event it was
that led to it.
"""

BURST, EVERY = 4, 4  # so many at once, and one more in so many seconds


def counts(memory, host, now, every=EVERY, burst=BURST):
    """
    Return whether an event of ``host`` is worth a look, and remember it.

    memory
        A dict that the caller keeps; it holds no host longer than its share needs to be whole again.
    host
        One of the plan's: whoever calls has checked that.
    now
        Seconds of a clock that never jumps.
    every, burst
        The share: so many at once, and one more in ``every`` seconds.
    """
    for known in [known for known, (_, when) in memory.items() if now - when >= every * burst]:
        del memory[known]
    left, when = memory.get(host, (burst, now))
    left = min(burst, left + (now - when) / every)
    let_in = left >= 1
    memory[host] = (left - let_in, now)
    return let_in
