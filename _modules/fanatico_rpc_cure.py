"""
What can be wrong with a chain node, told and cured: it does not answer, or it stands still behind the others.

``fanatico_cure.apply`` calls the cures: it looks first and proves afterwards. Here each does what it is called for at once.
"""

import contextlib
import time

from salt.exceptions import CommandExecutionError

import fanatico_plan
import fanatico_probe

_ASK = fanatico_probe.TIMEOUT
_LATEST = 10  # seconds for a chain node's answer; one that is later is slow, which health says, and not hung
_UNIT = "fanatico-rpc.service"


def _setting(path):
    return fanatico_plan.setting(__pillar__, path)


def _active():
    return fanatico_probe.active(__context__, __salt__["fanatico_unit.states"], _UNIT)


def _silence(timeout):
    ask = __salt__["fanatico_rpc.head"]
    return fanatico_probe.hang_reason(lambda: ask(timeout=timeout)) if _active() else ""


def hung():
    """
    Return what is heard of a chain node that runs and does not answer; empty where it answers.

    One that answers late is under load and not hung: a restart would take it, and then the next, from those who ask.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc_cure.hung
    """
    return _silence(_LATEST)


def owes():
    """
    Return the same as ``hung`` for the beacon, which watches everything else on this host and so does not wait ten seconds.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc_cure.owes
    """
    if not _silence(_ASK):
        return ""
    owed = __salt__["fanatico_rpc.owed"]()
    return f"no answer within {_LATEST} s" if owed >= _LATEST else ""


def restart(timeout=60):
    """
    Restart the chain node's program, and return what was done.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc_cure.restart
    """
    fanatico_probe.run("systemctl", "restart", "fanatico-rpc", timeout=timeout)
    return "restarted"


def behind():
    """
    Return how far this node is behind the others where its newest block is an old one and it does not catch up; else empty.

    One that syncs is let alone.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc_cure.behind
    """
    if not _active():
        return ""
    block = __salt__["fanatico_rpc.call"]("eth_getBlockByNumber", ["latest", False], timeout=_ASK)
    if time.time() - int(block["timestamp"], 16) < _setting("heal:rpc_stalled_after"):
        return ""
    # One after the other: the beacon's process is no place for threads.
    heads = []
    for peer in fanatico_plan.peers(__pillar__["plan"], "rpc", __opts__["id"]):
        with contextlib.suppress(CommandExecutionError):
            heads.append(__salt__["fanatico_rpc.heard"](peer, timeout=_ASK)["head"] or 0)
    lag = max(heads, default=0) - int(block["number"], 16)
    if lag <= _setting("rpc:health:max_lag") or __salt__["fanatico_rpc.syncing"](timeout=_ASK):
        return ""
    time.sleep(1)  # one that catches up has old blocks too, and a new one every moment
    if __salt__["fanatico_rpc.head"](timeout=_ASK) == int(block["number"], 16):
        return f"it stands at block {int(block['number'], 16)}, {lag} behind the others"
    return ""


def restart_all(timeout=120):
    """
    Restart all that makes a chain node: its program, and what keeps that at the others' heels. Returns what was done.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc_cure.restart_all
    """
    units = [unit for unit in __salt__["fanatico_unit.expected"]() if unit.startswith("fanatico-rpc")]
    there = [
        unit for unit, one in __salt__["fanatico_unit.states"](*units).items() if one["load"] == "loaded"
    ]
    fanatico_probe.run("systemctl", "restart", *there, timeout=timeout)
    return "restarted"
