"""
What the reactor asks before it hands an event on.
"""

import time

__virtualname__ = "fanatico_event"


def __virtual__():
    return __virtualname__


def counts(host=None, what=None, kind="fault", again=4, *_):
    """
    Return whether an event is worth a reaction: each subject once in a few seconds, and not too many of all of a kind.

    host
        Whose event it is.
    what
        The unit or fault it tells of.
    kind
        Kinds do not use up each other's share.
    again
        Seconds until the same is worth another one.

    CLI Example:

    .. code-block:: bash

        salt-call --local fanatico_event.counts db1 patroni.service
    """
    if not (isinstance(host, str) and isinstance(what, str) and len(host) + len(what) < 300):
        return False
    memory = __context__.setdefault("fanatico_event", {}).setdefault(kind, {})
    return __utils__["fanatico_gate.counts"](memory, f"{host}/{what}", time.monotonic(), again)
