"""
The rate limit of the reactor: whether it starts a runner for an event.
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
    Return whether an event is passed on: its host is in the plan and within the rate limit.

    Nothing else of an event is used. A minion can write anything into it, and name another host as its sender.

    host
        The host that the event names.
    kind
        Each kind of event has a rate limit of its own.
    every, burst
        The rate limit of a host: ``burst`` events at once, and one more every ``every`` seconds.

    CLI Example:

    .. code-block:: bash

        salt-run salt.cmd fanatico_event.counts db1
    """
    if not isinstance(host, str) or host not in _nodes():
        return False
    memory = __context__.setdefault("fanatico_event", {}).setdefault(kind, {})
    return fanatico_gate.counts(memory, host, time.monotonic(), every, burst)


def _nodes():
    """Return the nodes of the plan; those of the last plan that could be read, while the file is being edited."""
    known = __context__.setdefault("fanatico_event.plan", {"stamp": None, "nodes": ()})
    try:
        stamp = (fanatico_master.root(__opts__) / "plan.sls").stat().st_mtime_ns
        if stamp != known["stamp"]:
            nodes = frozenset(fanatico_master.plan(__opts__)["nodes"])
            known.update(stamp=stamp, nodes=nodes)
    except (OSError, SaltException, TypeError, KeyError):
        pass  # while it cannot be read, the known nodes stay
    return known["nodes"]
