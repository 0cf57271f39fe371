"""
The systemd units that this node has to keep running: list, state, start.
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
    Return the units that this node has to keep running, from its roles and settings.

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
    Quote a value for a file of systemd's ``EnvironmentFile=``.

    value
        A text, or anything that ``str`` converts.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_unit.variable 'say "hi"'
    """
    return fanatico_systemd.variable(value)


def states(*units: str) -> dict[str, dict]:
    """
    Return the state of units, with one call of systemctl.

    units
        Their full names; default: those of ``fanatico_unit.expected``.

    Returns ``{unit: {"load", "enabled", "active", "sub", "result", "cgroup": str, "pid", "restarts", "entered": int, "tried",
    "down": bool}}``. ``entered``: microseconds from boot until it last became active. ``tried``: it was started since the boot.
    ``down``: it is stopped or failed, not masked, and systemd has no job to start it. A unit that does not exist has the load
    state ``not-found``.

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
    Start a unit that is down and prove that it stays up. A unit that is no longer down is not touched.

    unit
        Its full name.
    samples
        The number of consecutive probes, a quarter of a second apart, that must find it active with the same main process;
        default: pillar ``heal:samples``.
    timeout
        Seconds, in total; default: pillar ``heal:timeout``.

    Returns ``{"acted": bool, "running": bool, "before": state, "after": state, "took": seconds, "detail": str}``. If it does not
    run, ``detail`` has its state and the last lines of its journal.

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
        # systemd is starting or stopping it: wait for the result.
        running, state = _stable(unit, samples, begun + timeout)
    if state["down"]:
        acted = True
        if state["active"] == "failed":
            _systemctl("reset-failed", "--", unit)
        # No waiting: for a service that never gets ready, systemctl would wait for the unit's own, longer timeout.
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
    Kill a unit's main process (SIGKILL), as a crash would, and return its pid. For drills.

    unit
        The unit's full name.

    Raises ``CommandExecutionError`` if it has no main process.

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
    Return whether this machine is shutting down; stopped units are not a fault then.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_unit.shutting_down
    """
    return fanatico_probe.run("systemctl", "is-system-running").stdout.strip() == "stopping"


def _parse(text, units):
    """
    Return ``states`` from the output of ``systemctl show``, which has one block per unit, in the order of ``units``.
    """
    found = {}
    for unit, block in zip(units, text.strip().split("\n\n"), strict=True):
        properties = dict(line.partition("=")[::2] for line in block.splitlines())
        state = {name: properties.get(key, "") for key, name in _PROPERTIES.items()}
        state.update({key: int(state[key] or 0) for key in ("pid", "restarts", "entered")})
        state["tried"] = state["tried"] not in ("", "0")
        # `<id> <path>` while a job is queued.
        busy = state.pop("job").split(" ")[0] not in ("", "0")
        state["down"] = state["load"] == "loaded" and state["active"] in ("inactive", "failed") and not busy
        found[unit] = state
    return found


def _stable(unit, samples, deadline):
    """Wait until ``samples`` consecutive probes find a unit active with the same main process."""
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
    log = fanatico_probe.run("journalctl", "--unit", unit, "--lines=5", "--no-pager", "--output=cat").stdout
    lines = " / ".join(log.splitlines()) or "(empty)"
    return (
        f"{unit} is {state['active']} ({state['sub']}, {state['result']}) after {took} s, not active; "
        f"its journal ends with: {lines}"
    )


def _systemctl(*arguments):
    done = fanatico_probe.run("systemctl", *arguments)
    if done.returncode:
        reason = done.stderr.strip() or f"exit code {done.returncode}"
        raise CommandExecutionError(f"{__opts__['id']}: `systemctl {' '.join(arguments)}` failed: {reason}")
    return done.stdout
