"""
What the reactor asks before it hands an event on.
"""

import time

from salt.exceptions import SaltException

import fanatico_gate
import fanatico_master

__virtualname__ = "fanatico_event"


def __virtual__():
    return __virtualname__


def counts(host=None, kind="fault", every=4, burst=4, *_):
    """
    Return whether an event is worth a look at its host: one of the plan's, which has not used up its share.

    Nothing else of an event is ever used. A minion writes what it likes into one, and can name another host as its sender.

    host
        Whose event it says that it is.
    kind
        Kinds do not use up each other's share.
    every, burst
        The share of a host: so many at once, and one more in ``every`` seconds.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd fanatico_event.counts db1
    """
    if not isinstance(host, str) or host not in _nodes():
        return False
    memory = __context__.setdefault("fanatico_event", {}).setdefault(kind, {})
    return fanatico_gate.counts(memory, host, time.monotonic(), every, burst)


def _nodes():
    """Return the nodes of the plan; of the last one that could be read while somebody edits it."""
    known = __context__.setdefault("fanatico_event.plan", {"stamp": None, "nodes": ()})
    try:
        stamp = (fanatico_master.root(__opts__) / "plan.sls").stat().st_mtime_ns
        if stamp != known["stamp"]:
            nodes = frozenset(fanatico_master.plan(__opts__)["nodes"])
            known.update(stamp=stamp, nodes=nodes)
    except (OSError, SaltException, TypeError, KeyError):
        pass  # as long as it cannot be read, nobody can be added or taken away
    return known["nodes"]
