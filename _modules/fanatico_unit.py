"""
The systemd units this node has to keep running: which they are, how they are, and how one is started again.
"""

import os
import signal
import time

from salt.exceptions import CommandExecutionError

import fanatico_guard
import fanatico_plan
import fanatico_probe
import fanatico_systemd

__virtualname__ = "fanatico_unit"

_PROPERTIES = {
    "LoadState": "load",
    "UnitFileState": "enabled",
    "ActiveState": "active",
    "SubState": "sub",
    "Result": "result",
    "MainPID": "pid",
    "NRestarts": "restarts",
    "InactiveExitTimestampMonotonic": "tried",
    "ActiveEnterTimestampMonotonic": "entered",
    "ControlGroup": "cgroup",
    "Job": "job",
}


def __virtual__():
    return __virtualname__


def expected() -> list[str]:
    """
    Return the units this node's roles promise to keep running, as far as its settings make them exist.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_unit.expected
    """

    plan = fanatico_plan.get(__pillar__, "plan", {"nodes": {}})
    if __opts__["id"] not in plan["nodes"]:
        return []
    roles = fanatico_plan.roles(plan, __opts__["id"])
    return fanatico_guard.units(roles, fanatico_plan.get(__pillar__, "heal:units"), __pillar__)


def variable(value: object) -> str:
    """
    Return the value of a variable as a file of ``EnvironmentFile`` has it: quoted.

    value
        Text, or anything that is written as text.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_unit.variable 'say "hi"'
    """
    return fanatico_systemd.variable(value)


def states(*units: str) -> dict[str, dict]:
    """
    Return how units are, all of them for the price of one look.

    units
        Their full names; without any, those of ``fanatico_unit.expected``.

    Returns ``{unit: {"load", "enabled", "active", "sub", "result", "cgroup": str, "pid", "restarts",
    "entered": int, "tried", "down": bool}}``. ``entered``: microseconds after the boot when it last became active.
    ``tried``: it was started at least once since the machine has booted. ``down``
    means that nothing but us will start it again: it is stopped or failed, systemd is not about to start it,
    and nobody has masked it. A unit that does not exist has load ``not-found``.

    CLI Example:

    .. code-block:: bash

        salt 'etcd*' fanatico_unit.states etcd.service
    """
    names = units or expected()
    if not names:
        return {}
    return _parse(_systemctl("show", f"--property={','.join(_PROPERTIES)}", "--", *names), names)


def start(unit: str, samples: int | None = None, timeout: float | None = None) -> dict:
    """
    Start a unit that is down and prove that it stays up. A unit that is not down any more is left alone.

    unit
        Its full name.
    samples
        So many looks in a row, a quarter of a second apart, must show it active with the same main process; pillar
        ``heal:samples`` without it.
    timeout
        Seconds for all of it; pillar ``heal:timeout`` without it.

    Returns ``{"acted": bool, "running": bool, "before": state, "after": state, "took": seconds, "detail":
    str}``. ``detail`` says, when it is not running, what was seen and ends with the last lines of its
    journal.

    CLI Example:

    .. code-block:: bash

        salt 'etcd1' fanatico_unit.start etcd.service
    """
    samples = fanatico_plan.setting(__pillar__, "heal:samples") if samples is None else samples
    timeout = fanatico_plan.setting(__pillar__, "heal:timeout") if timeout is None else timeout
    begun = time.monotonic()
    before = state = states(unit)[unit]
    acted, running = False, state["active"] == "active"
    if not running and not state["down"]:
        # systemd is at it: what comes of that decides.
        running, state = _stable(unit, samples, begun + timeout)
    if state["down"]:
        acted = True
        if state["active"] == "failed":
            _systemctl("reset-failed", "--", unit)
        # Not waiting here: a service that never gets ready would hold systemctl for its own, longer timeout.
        _systemctl("start", "--no-block", "--", unit)
        running, state = _stable(unit, samples, begun + timeout)
    took = round(time.monotonic() - begun, 2)
    detail = "" if running else _complaint(unit, state, took)
    return {
        "acted": acted,
        "running": running,
        "before": before,
        "after": state,
        "took": took,
        "detail": detail,
    }


def kill(unit: str) -> int:
    """
    End a unit's main process with SIGKILL, as a crash would, and return its pid. For drills.

    unit
        The unit's full name.

    Raises ``CommandExecutionError`` where it has none.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_unit.kill fanatico-rpc.service
    """
    pid = int(_systemctl("show", "-P", "MainPID", unit).strip() or 0)
    if not pid:
        raise CommandExecutionError(
            f"{__opts__['id']}: {unit} has no main process. Next: systemctl status {unit}"
        )
    os.kill(pid, signal.SIGKILL)
    return pid


def shutting_down() -> bool:
    """
    Tell whether this machine is on its way down, when stopped units are no fault.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_unit.shutting_down
    """
    return fanatico_probe.run("systemctl", "is-system-running").stdout.strip() == "stopping"


def _parse(text, units):
    """
    Turn what ``systemctl show`` printed, one block for each of ``units`` in their order, into ``states``.
    """
    found = {}
    for unit, block in zip(units, text.strip().split("\n\n"), strict=True):
        told = dict(line.partition("=")[::2] for line in block.splitlines())
        state = {name: told.get(key, "") for key, name in _PROPERTIES.items()}
        state.update({key: int(state[key] or 0) for key in ("pid", "restarts", "entered")})
        state["tried"] = state["tried"] not in ("", "0")
        # `<id> <path>` while a start or stop is queued.
        busy = state.pop("job").split(" ")[0] not in ("", "0")
        state["down"] = state["load"] == "loaded" and state["active"] in ("inactive", "failed") and not busy
        found[unit] = state
    return found


def _stable(unit, samples, deadline):
    """Wait until a unit was seen active with one main process ``samples`` times in a row."""
    pid, seen = None, 0
    while True:
        state = states(unit)[unit]
        if state["active"] != "active":
            seen = 0
        elif seen and state["pid"] == pid:
            seen += 1
        else:
            pid, seen = state["pid"], 1
        if seen >= samples:
            return True, state
        if state["down"] or time.monotonic() >= deadline:
            return False, state
        time.sleep(0.25)


def _complaint(unit, state, took):
    said = fanatico_probe.run("journalctl", "--unit", unit, "--lines=5", "--no-pager", "--output=cat").stdout
    lines = " / ".join(said.splitlines()) or "(nothing)"
    return (
        f"{unit} should be active and is {state['active']} ({state['sub']}, {state['result']}) "
        f"after {took} s; its journal ends with: {lines}"
    )


def _systemctl(*arguments):
    done = fanatico_probe.run("systemctl", *arguments)
    if done.returncode:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        raise CommandExecutionError(f"{__opts__['id']}: `systemctl {' '.join(arguments)}` failed: {said}")
    return done.stdout
