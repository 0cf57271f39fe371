"""
Load the certificates and authorities on disk into a running HAProxy, without a reload if possible.
"""

from salt.exceptions import CommandExecutionError

import fanatico_state
import fanatico_wait


def certified(name, timeout=10):
    """
    Ensure that a running HAProxy uses the certificates and authorities on disk.

    They are replaced over the runtime API. If that is not possible or fails, HAProxy is reloaded.

    name
        The unit: ``haproxy``, or ``haproxy-edge`` for the public part. A unit that does not run reads the files when it starts.
    timeout
        Seconds to wait for the reload to take effect.
    """
    if not __salt__["service.status"](name):
        return fanatico_state.answer(
            name, True, f"{name} does not run: it reads its certificates when it starts"
        )
    try:
        stale = _stale(name)
        missing = [path for path, file in stale.items() if file["disk"] is None]
        if missing:
            return _fail(
                name,
                f"{', '.join(missing)} cannot be read, and {name} uses it",
                f"restore the file, then run the highstate of {__opts__['id']}",
            )
        changes = {
            path: {"old": " ".join(file["runs"]), "new": " ".join(file["disk"])}
            for path, file in stale.items()
        }
        if __opts__["test"] or not stale:
            comment = (
                f"{len(stale)} differ from the files on disk"
                if stale
                else "all files are loaded as they are on disk"
            )
            return fanatico_state.answer(name, None if stale else True, comment, changes)
        return _load(name, timeout, changes)
    except CommandExecutionError as exc:
        return fanatico_state.answer(name, False, str(exc))


def _load(name, timeout, changes):
    failed = {
        path: why for path, why in __salt__["fanatico_haproxy.update_certificates"](unit=name).items() if why
    }
    if not failed and not _stale(name):
        return fanatico_state.answer(name, True, "loaded without a reload", changes)
    why = (
        "; ".join(f"{path}: {reason}" for path, reason in failed.items())
        or "the runtime update had no effect"
    )
    __salt__["service.reload"](name)
    done, _ = fanatico_wait.until(lambda: (not _stale(name), ""), timeout, 0.2)
    if not done:
        return _fail(
            name,
            f"{name} does not load {', '.join(_stale(name))}, not even with a reload ({why})",
            f"journalctl -u {name} -n 50",
        )
    return fanatico_state.answer(name, True, f"loaded with a reload ({why})", changes)


def _stale(unit):
    """Return the entries of ``fanatico_haproxy.certificates`` whose loaded content differs from the file on disk."""
    return {
        path: file
        for path, file in __salt__["fanatico_haproxy.certificates"](unit=unit).items()
        if file["runs"] != file["disk"]
    }


def _fail(name, what, step):
    return fanatico_state.answer(name, False, f"{__opts__['id']}: {what}. Next: {step}")
