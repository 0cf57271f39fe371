"""
Rate limit for events of the reactor: a token bucket for each host. Pure.

An event makes the master ask the host what it has reported; each question costs the master a job. Each host has a bucket of its
own, so a host that floods the master with events takes nothing from the others. An event that is dropped is not lost: one
question returns all that the host has reported.
"""

BURST, EVERY = 4, 4  # tokens in a full bucket; seconds until one more token is there


def counts(memory, host, now, every=EVERY, burst=BURST):
    """
    Return whether an event of ``host`` passes the rate limit, and count it.

    memory
        A dict that the caller keeps. A host is removed from it once its bucket is full again.
    host
        A host of the plan; the caller has checked that.
    now
        Seconds of a monotonic clock.
    every, burst
        The limit: ``burst`` events at once, and one more every ``every`` seconds.
    """
    for known in [known for known, (_, when) in memory.items() if now - when >= every * burst]:
        del memory[known]
    left, when = memory.get(host, (burst, now))
    left = min(burst, left + (now - when) / every)
    passes = left >= 1
    memory[host] = (left - passes, now)
    return passes
