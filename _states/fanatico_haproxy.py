"""
HAProxy with the certificates and authorities that are on disk, without a reload where it can do without.
"""

from salt.exceptions import CommandExecutionError

import fanatico_state
import fanatico_wait


def certified(name, timeout=10):
    """
    Have a HAProxy that runs use its certificates and authorities as they are on disk.

    They are exchanged while it runs; what it cannot exchange so, or does not take, a reload brings.

    name
        Its unit: ``haproxy``, or ``haproxy-edge`` for the public's. One that does not run reads them when it starts.
    timeout
        Seconds to wait for a reload to bring them.
    """
    if not __salt__["service.status"](name):
        return fanatico_state.answer(
            name, True, f"{name} does not run: it reads its certificates when it starts"
        )
    try:
        stale = _stale(name)
        missing = [path for path, one in stale.items() if one["disk"] is None]
        if missing:
            return _fail(name, f"{', '.join(missing)} cannot be read, and {name} uses it", "put it back")
        changes = {
            path: {"old": " ".join(one["runs"]), "new": " ".join(one["disk"])} for path, one in stale.items()
        }
        if __opts__["test"] or not stale:
            comment = f"{len(stale)} are others than on disk" if stale else "it uses them as they are on disk"
            return fanatico_state.answer(name, None if stale else True, comment, changes)
        return _take_up(name, timeout, changes)
    except CommandExecutionError as exc:
        return fanatico_state.answer(name, False, str(exc))


def _take_up(name, timeout, changes):
    failed = {
        path: why for path, why in __salt__["fanatico_haproxy.update_certificates"](unit=name).items() if why
    }
    if not failed and not _stale(name):
        return fanatico_state.answer(name, True, "taken up without a reload", changes)
    why = (
        "; ".join(f"{path}: {reason}" for path, reason in failed.items()) or "it did not use them afterwards"
    )
    __salt__["service.reload"](name)
    done, _ = fanatico_wait.until(lambda: (not _stale(name), ""), timeout, 0.2)
    if not done:
        return _fail(
            name,
            f"{name} does not take up {', '.join(_stale(name))}, by a reload neither ({why})",
            f"journalctl -u {name} -n 50",
        )
    return fanatico_state.answer(name, True, f"taken up by a reload ({why})", changes)


def _stale(unit):
    """Return what HAProxy has loaded, as ``fanatico_haproxy.certificates`` does, and is another on disk."""
    return {
        path: one
        for path, one in __salt__["fanatico_haproxy.certificates"](unit=unit).items()
        if one["runs"] != one["disk"]
    }


def _fail(name, what, step):
    return fanatico_state.answer(name, False, f"{__opts__['id']}: {what}. Next: {step}")
