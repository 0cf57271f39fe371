"""
Detect the faults of this node and cure them: probe, act, prove.

The records of all faults, with the names of their probe, cure and proof: ``_utils/fanatico_faults.py``.
"""

import pathlib
import subprocess
import time

from salt.exceptions import CommandExecutionError

import fanatico_aside
import fanatico_faults
import fanatico_file
import fanatico_guard
import fanatico_plan
import fanatico_probe
import fanatico_wait

__virtualname__ = "fanatico_cure"


def __virtual__():
    return __virtualname__


def _roles():
    return fanatico_plan.roles(__pillar__["plan"], __opts__["id"])


def symptoms(states: dict | None = None) -> dict[str, str]:
    """
    Return the faults of this node that a beacon can detect, ``{fault: reason}``, without units that are down.

    Cheap enough for the beacon: it reads a few files and sends one short request to each service.

    states
        A fresh result of ``fanatico_unit.states`` that the caller has; units that are not in it are read from systemd.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_cure.symptoms
    """
    faults = [fanatico_faults.FAULTS[name] for name in fanatico_faults.of_beacon(_roles())]
    return _probe_all({fault.name: fault.beacon_probe or fault.probe for fault in faults}, states)


def _probe_all(probes, states=None):
    """Run ``probes`` (``{fault: function}``) and return ``{fault: reason}`` of the faults found."""
    found = {}
    with fanatico_probe.shared_answers(__context__, states):
        for fault, probe in probes.items():
            try:
                seen = __salt__[probe]()
            except (CommandExecutionError, OSError, ValueError, LookupError, subprocess.SubprocessError):
                seen = ""  # unknown is not a fault: nothing is cured; `fanatico.health` reports the error
            if seen:
                found[fault] = seen
    return found


def found() -> dict[str, str]:
    """
    Return all faults of this node, ``{unit or fault: reason}``, for ``salt-run fanatico.reconcile``.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_cure.found
    """
    units = __salt__["fanatico_unit.states"]()
    down = {
        unit: f"{state['active']} ({state['result']})"
        for unit, state in units.items()
        if state["down"] and state["enabled"] == "enabled" and state["tried"]
    }
    probes = {name: fanatico_faults.FAULTS[name].probe for name in fanatico_faults.of_node(_roles())}
    return {**down, **_probe_all(probes)}


def reported() -> dict[str, str]:
    """
    Return the faults that the beacon still reports, ``{unit or fault: reason}``, for ``salt-run fanatico.look``.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_cure.reported
    """
    path = pathlib.Path(__opts__["cachedir"], _REPORTED)
    known = fanatico_file.read_json(path)
    return {what: report["why"] for what, report in known.items() if time.time() - report["when"] < _FRESH}


_REPORTED = "fanatico-reported.json"  # written by the beacon, which has the same name for it
_FRESH = 150  # seconds; the beacon repeats its reports every minute


def unprovisioned() -> str:
    """
    Return why this host is unprovisioned, for example after a reinstall: the units that are missing; empty if none.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_cure.unprovisioned
    """
    overrides = fanatico_plan.get(__pillar__, "heal:units")
    units = [unit for role in _roles() for unit in fanatico_guard.units_of(role, overrides)[:1]]
    states = __salt__["fanatico_unit.states"](*units) if units else {}
    missing = [unit for unit, state in states.items() if state["load"] == "not-found"]
    return f"{' and '.join(missing)} is not installed" if missing else ""


def apply(what: str, samples: int | None = None, timeout: float = 60) -> dict:
    """
    Cure one fault of this node if it is still present, and prove that it is gone.

    what
        The name of a fault, or a unit that is down.
    samples
        The number of consecutive probes that must find no fault; default: pillar ``heal:samples``.
    timeout
        Seconds, in total.

    Returns ``{"acted": bool, "running": bool, "took": seconds, "did": str, "detail": str}``. ``running``: the fault is gone or
    the unit runs; else ``detail`` has the reason. ``instead`` is set, and nothing was done, if another fault must be cured
    before the unit is started; it names that fault. Raises ``CommandExecutionError`` if ``what`` is neither a fault nor a unit
    of this host.

    CLI Example:

    .. code-block:: bash

        salt etcd1 fanatico_cure.apply etcd-full
    """
    samples = fanatico_plan.setting(__pillar__, "heal:samples") if samples is None else samples
    fault = fanatico_faults.FAULTS.get(what)
    if fault is None:
        _refuse_unknown(what)
        return _start(what, samples, timeout)
    begun = time.monotonic()
    seen = _seen(fault)
    if not seen:
        return _untouched(running=True)
    if not fault.cure:
        return _untouched(running=False, detail=seen)
    did = __salt__[fault.cure](timeout)
    gone, last = _prove(fault, samples, timeout - (time.monotonic() - begun))
    removed = fanatico_aside.delete(__salt__[fault.replaces]()) if gone and fault.replaces else 0
    took = round(time.monotonic() - begun, 2)
    detail = "" if gone else f"{what} after {took} s, {did}: {last}"
    return {"acted": True, "running": gone, "took": took, "did": did, "removed": removed, "detail": detail}


def _refuse_unknown(unit):
    """Raise unless this host has to keep the unit running: otherwise there is nothing to start or to prove."""
    units = __salt__["fanatico_unit.expected"]()
    if unit not in units:
        known = ", ".join([*units, *fanatico_faults.FAULTS])
        raise CommandExecutionError(
            f"{__opts__['id']}: {unit} is neither a unit of this host nor a fault. Known: {known}"
        )


def _start(unit, samples, timeout):
    """Start a unit, unless another fault must be cured first."""
    cause = fanatico_faults.cause(unit)
    seen = _seen(cause) if cause else ""
    if seen:
        return _untouched(running=False, detail=seen, instead=cause.name)
    return {**__salt__["fanatico_unit.start"](unit, samples, timeout), "did": "started again"}


def _seen(fault):
    return __salt__[fault.probe]() if fault.probe else ""


def _untouched(running, detail="", **more):
    return {"acted": False, "running": running, "took": 0.0, "did": "", "detail": detail, **more}


def _prove(fault, samples, timeout):
    """Wait until ``samples`` consecutive probes find no fault; return whether that was in time, and the last reason."""
    probe = _in_a_row(__salt__[fault.proof or fault.probe], fault.samples or samples)
    unfixable = __salt__[fault.unfixable_if] if fault.unfixable_if else None
    ended, last = fanatico_wait.until(_or_unfixable(probe, unfixable), timeout, 0.5)
    return ended and not last, last


def forget(what: str) -> int:
    """
    Delete the data that a cure of this node has moved aside, once the replacement is proven.

    what
        The fault that was cured: ``replica-unusable`` or ``etcd-data-lost``.

    Returns the number of bytes deleted. Raises ``CommandExecutionError`` if the replacement is not healthy yet.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_cure.forget replica-unusable
    """
    fault = fanatico_faults.FAULTS.get(what)
    if fault is None or not fault.replaces:
        return 0
    bad = __salt__[fault.proof]()
    if bad:
        raise CommandExecutionError(
            f"{__opts__['id']}: {bad}; the old data are kept until the replacement is healthy. "
            f"Next: salt {__opts__['id']} fanatico.health"
        )
    return fanatico_aside.delete(__salt__[fault.replaces]())


def _or_unfixable(probe, unfixable):
    """Return a probe for ``fanatico_wait.until`` that also ends, with the reason, if the cure cannot help."""

    def check():
        done, seen = probe()
        why = unfixable() if unfixable and not done else ""
        return bool(done or why), why or seen

    return check


def _in_a_row(probe, samples):
    """Return a probe for ``fanatico_wait.until`` that is done after ``samples`` consecutive probes without a fault."""
    good = 0

    def check():
        nonlocal good
        try:
            seen = probe()
        except Exception:
            good = 0
            raise
        good = 0 if seen else good + 1
        return good >= samples, seen

    return check
