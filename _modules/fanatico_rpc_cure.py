"""
Probes and cures for the faults of a chain node: it does not answer, or it has stalled behind the others.

``fanatico_cure.apply`` probes before a cure and proves afterwards; a cure that is called directly acts at once.
"""

import contextlib
import time

from salt.exceptions import CommandExecutionError

import fanatico_plan
import fanatico_probe

_ASK = fanatico_probe.TIMEOUT
_HUNG_AFTER = 10  # seconds without an answer; below that the node is slow, which health reports
_UNIT = "fanatico-rpc.service"


def _setting(path):
    return fanatico_plan.setting(__pillar__, path)


def _active():
    return fanatico_probe.active(__context__, __salt__["fanatico_unit.states"], _UNIT)


def _silence(timeout):
    ask = __salt__["fanatico_rpc.head"]
    return fanatico_probe.hang_reason(lambda: ask(timeout=timeout)) if _active() else ""


def hung() -> str:
    """
    Return the error of a chain node that runs and does not answer; empty if it answers.

    A slow node is under load, not hung: restarting it would move the load to the next node.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc_cure.hung
    """
    return _silence(_HUNG_AFTER)


def hung_nowait() -> str:
    """
    Return the same as ``hung`` without waiting ten seconds, for the beacon.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc_cure.hung_nowait
    """
    if not _silence(_ASK):
        return ""
    seconds = __salt__["fanatico_rpc.unanswered_seconds"]()
    return f"no answer within {_HUNG_AFTER} s" if seconds >= _HUNG_AFTER else ""


def restart(timeout: float = 60) -> str:
    """
    Restart the chain node's program and return what was done.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc_cure.restart
    """
    fanatico_probe.run("systemctl", "restart", "fanatico-rpc", timeout=timeout)
    return "restarted"


def behind() -> str:
    """
    Return how far this node is behind the others, if its newest block is old and it does not catch up; else empty.

    A node that is syncing is not behind.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc_cure.behind
    """
    if not _active():
        return ""
    block = __salt__["fanatico_rpc.call"]("eth_getBlockByNumber", ["latest", False], timeout=_ASK)
    if time.time() - int(block["timestamp"], 16) < _setting("heal:rpc_stalled_after"):
        return ""
    # Sequential: the beacon's process must not start threads.
    heads = []
    for peer in fanatico_plan.peers(__pillar__["plan"], "rpc", __opts__["id"]):
        with contextlib.suppress(CommandExecutionError):
            heads.append(__salt__["fanatico_rpc.agent_status"](peer, timeout=_ASK)["head"] or 0)
    lag = max(heads, default=0) - int(block["number"], 16)
    if lag <= _setting("rpc:health:max_lag") or __salt__["fanatico_rpc.syncing"](timeout=_ASK):
        return ""
    time.sleep(1)  # a node that catches up has old blocks too, but gets new ones all the time
    if __salt__["fanatico_rpc.head"](timeout=_ASK) == int(block["number"], 16):
        return f"stalled at block {int(block['number'], 16)}, {lag} behind the others"
    return ""


def restart_all(timeout: float = 120) -> str:
    """
    Restart all units of the chain node: its program and the sync with the other nodes. Returns what was done.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc_cure.restart_all
    """
    units = [unit for unit in __salt__["fanatico_unit.expected"]() if unit.startswith("fanatico-rpc")]
    loaded = [
        unit for unit, state in __salt__["fanatico_unit.states"](*units).items() if state["load"] == "loaded"
    ]
    fanatico_probe.run("systemctl", "restart", *loaded, timeout=timeout)
    return "restarted"
