"""
Probes and cures for faults of any node: it was reinstalled, it has drifted, its disk is full.

``fanatico_cure.apply`` probes before a cure and proves afterwards; a cure that is called directly acts at once.
"""

import os
import pathlib
import shutil
import time

import fanatico_plan
import fanatico_probe

# Caches that may be deleted when a disk is full.
_CACHES = ("/var/cache/apt/archives",)
_KEEP = 86400  # seconds for which journals and core dumps are kept in any case


def _setting(path):
    return fanatico_plan.setting(__pillar__, path)


def _apply(sls=None):
    return fanatico_probe.apply_states(__salt__["state.apply"], __opts__["id"], sls)


# --- a reinstalled host; fanatico_cure.unprovisioned detects it


def build(timeout: float = 600) -> str:
    """
    Build this host by a highstate and return what was done.

    timeout
        Not used: a highstate has timeouts of its own.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_node_cure.build
    """
    return _apply()


def unhealthy() -> str:
    """
    Return the first check of a rebuilt host that is not ok; empty if it is healthy.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_node_cure.unhealthy
    """
    health = __salt__["fanatico.health"]()
    bad = [check["detail"] for check in health["checks"].values() if check["status"] != "ok"]
    roles = fanatico_plan.roles(__pillar__["plan"], __opts__["id"])
    streams = __salt__["fanatico_patroni_cure.not_streaming"]() if "patroni" in roles else ""
    return bad[0] if bad else streams


# --- drift


def drifted() -> str:
    """
    Return the drift that ``heal:auto_remediate_drift`` allows to correct; empty if there is none.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_node_cure.drifted
    """
    kinds = _setting("heal:auto_remediate_drift")
    components = __salt__["fanatico_node.correctable"](kinds) if kinds else {}
    return f"drifted: {', '.join(components)}" if components else ""


def correct(timeout: float = 300) -> str:
    """
    Apply the states of the components that have drifted, as far as ``heal:auto_remediate_drift`` allows.

    timeout
        Not used: the states have timeouts of their own.

    Returns the names of the components, as a text.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_node_cure.correct
    """
    components = __salt__["fanatico_node.correctable"](_setting("heal:auto_remediate_drift"))
    _apply([sls for states in components.values() for sls in states])
    return f"corrected {', '.join(components)}"


# --- a full disk


def disk_full() -> str:
    """
    Return how full a disk of this node is, if that is critical; else empty.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_node_cure.disk_full
    """
    check = __salt__["fanatico_node.disk"]()
    return check["detail"] if check["status"] == "critical" else ""


def make_room(timeout: float = 60) -> str:
    """
    Delete what can be replaced: cached packages, and journals and core dumps older than a day.

    Logs of the last day are kept for the analysis. The text returned names the largest files, a likely cause.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_node_cure.make_room
    """
    before = shutil.disk_usage("/").free
    for folder in _CACHES:
        for path in pathlib.Path(folder).glob("*.deb"):
            path.unlink(missing_ok=True)
    fanatico_probe.run("journalctl", "--rotate", f"--vacuum-time={_KEEP}s", timeout=timeout)
    for path in pathlib.Path("/var/lib/systemd/coredump").glob("core.*"):
        if time.time() - path.stat().st_mtime > _KEEP:
            path.unlink(missing_ok=True)
    room = (shutil.disk_usage("/").free - before) / 1024**2
    largest = ", ".join(f"{path} {size / 1024**2:.0f} MiB" for size, path in _largest_files(timeout / 4))
    return f"deleted {room:.0f} MiB of packages, old journals and core dumps; the largest files: {largest}"


def _largest_files(seconds, count=3):
    """Return ``[(bytes, path), ...]`` of the largest files on the disk of ``/`` that are found in the time."""
    until, device = time.monotonic() + seconds, os.stat("/").st_dev
    found: list[tuple[int, str]] = []
    for folder, names, files in os.walk("/"):
        if time.monotonic() > until:
            break
        names[:] = [name for name in names if _device(os.path.join(folder, name)) == device]
        sizes = [(_disk_use(os.path.join(folder, name)), os.path.join(folder, name)) for name in files]
        found = sorted([*found, *sizes], reverse=True)[:count]
    return found


def _device(path):
    try:
        return os.lstat(path).st_dev
    except OSError:
        return None


def _disk_use(path):
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:
        return 0
