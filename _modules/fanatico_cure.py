"""
What is wrong with this node although its units run, and the cures: each looks again first, and proves what it did.

Which faults there are, and which functions tell, cure and prove each: ``fanatico_faults``.
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


def symptoms(states=None):
    """
    Return what is wrong with this node beside units that are down, ``{fault: what was seen}``.

    Cheap enough for the beacon: some files, and one short question to each service.

    states
        What ``fanatico_unit.states`` has just returned, for as many units as the caller knows; others are asked for.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_cure.symptoms
    """
    faults = [fanatico_faults.FAULTS[name] for name in fanatico_faults.of_beacon(_roles())]
    return _look({fault.name: fault.beacon_probe or fault.probe for fault in faults}, states)


def _look(probes, states=None):
    """Return what the probes find, ``{fault: what was seen}``; ``probes``: ``{fault: function}``."""
    found = {}
    with fanatico_probe.shared_answers(__context__, states):
        for fault, probe in probes.items():
            try:
                seen = __salt__[probe]()
            except (CommandExecutionError, OSError, ValueError, LookupError, subprocess.SubprocessError):
                seen = ""  # it could not be told; `fanatico.health` says why, and nothing is done about it
            if seen:
                found[fault] = seen
    return found


def found():
    """
    Return all that is wrong with this node, ``{unit or fault: what was seen}``, for ``salt-run fanatico.reconcile``.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_cure.found
    """
    units = __salt__["fanatico_unit.states"]()
    down = {
        unit: f"{one['active']} ({one['result']})"
        for unit, one in units.items()
        if one["down"] and one["enabled"] == "enabled" and one["tried"]
    }
    probes = {name: fanatico_faults.FAULTS[name].probe for name in fanatico_faults.of_node(_roles())}
    return {**down, **_look(probes)}


def reported():
    """
    Return what the beacon has reported lately and still sees, ``{unit or fault: why}``, for ``salt-run fanatico.look``.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_cure.reported
    """
    path = pathlib.Path(__opts__["cachedir"], _REPORTED)
    known = fanatico_file.read_json(path)
    return {what: one["why"] for what, one in known.items() if time.time() - one["when"] < _FRESH}


_REPORTED = "fanatico-reported.json"  # as in the beacon, which writes it
_FRESH = 150  # seconds; the beacon repeats itself every minute


def unprovisioned():
    """
    Return why this host is not what its roles make of it, as one that was reinstalled is not; empty where it is.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_cure.unprovisioned
    """
    overrides = fanatico_plan.get(__pillar__, "heal:units")
    first = [fanatico_guard.units_of(role, overrides)[:1] for role in _roles()]
    units = [unit for one in first for unit in one]
    missing = (
        [unit for unit, one in __salt__["fanatico_unit.states"](*units).items() if one["load"] == "not-found"]
        if units
        else []
    )
    return f"{' and '.join(missing)} is not installed" if missing else ""


def apply(what, samples=None, timeout=60):
    """
    Cure one fault of this node if it still has it, and prove that it is gone.

    what
        A fault that ``symptoms`` names, or a unit that is down.
    samples
        So many looks in a row must find it gone; pillar ``heal:samples`` without it.
    timeout
        Seconds for all of it.

    Returns ``{"acted": bool, "running": bool, "took": seconds, "did": str, "detail": str}``. ``running`` is whether all is well
    with it now; ``detail`` says what is not. ``instead`` is there where a unit must not be started before another fault is
    cured, and names that; nothing was done then. Raises where ``what`` is neither a fault nor a unit of this host.

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
    if gone and fault.replaces:
        fanatico_aside.delete(__salt__[fault.replaces]())
    took = round(time.monotonic() - begun, 2)
    detail = "" if gone else f"{what} after {took} s, {did}: {last}"
    return {"acted": True, "running": gone, "took": took, "did": did, "detail": detail}


def _refuse_unknown(unit):
    """Raise where nothing here is promised to keep running under that name: there is nothing to start, and nothing to prove."""
    units = __salt__["fanatico_unit.expected"]()
    if unit not in units:
        known = ", ".join([*units, *fanatico_faults.FAULTS])
        raise CommandExecutionError(
            f"{__opts__['id']}: {unit} is neither a unit that this host keeps running nor a fault. Known: {known}"
        )


def _start(unit, samples, timeout):
    """Start a unit, unless a fault has to be cured before."""
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
    """Wait until a fault was found gone so many times in a row; return whether it was in the time, and what was seen last."""
    look = _in_a_row(__salt__[fault.proof or fault.probe], fault.samples or samples)
    unfixable = __salt__[fault.unfixable_if] if fault.unfixable_if else None
    ended, last = fanatico_wait.until(_or_unfixable(look, unfixable), timeout, 0.5)
    return ended and not last, last


def forget(what):
    """
    Remove what a cure of this node has put aside, now that its replacement is proven. Returns the bytes that were removed.

    what
        The fault that was cured: ``replica-unusable``, ``etcd-data-lost``.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_cure.forget replica-unusable
    """
    fault = fanatico_faults.FAULTS.get(what)
    if fault is None or not fault.replaces:
        return 0
    bad = __salt__[fault.proof]()
    if bad:
        raise CommandExecutionError(f"{__opts__['id']}: {bad}, so what was put aside stays")
    return fanatico_aside.delete(__salt__[fault.replaces]())


def _or_unfixable(look, unfixable):
    """Return a look for ``fanatico_wait.until`` that also ends, with the reason, once the cure can do no more."""

    def again():
        done, seen = look()
        why = unfixable() if unfixable and not done else ""
        return bool(done or why), why or seen

    return again


def _in_a_row(look, samples):
    """Return a look for ``fanatico_wait.until`` that is done once ``look`` has found nothing so many times in a row."""
    good = 0

    def again():
        nonlocal good
        try:
            seen = look()
        except Exception:
            good = 0
            raise
        good = 0 if seen else good + 1
        return good >= samples, seen

    return again
