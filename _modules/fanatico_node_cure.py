"""
What can be wrong with any node whose units run, told and cured: it was reinstalled, it has drifted, its disk is full.

``fanatico_cure.apply`` calls the cures: it looks first and proves afterwards. Here each does what it is called for at once.
"""

import os
import pathlib
import shutil
import time

import fanatico_plan
import fanatico_probe

# What may go when a disk is full: what can be had again.
_SPARE_CACHES = ("/var/cache/apt/archives",)
_KEEPS = 86400  # seconds for which journals and core dumps stay, whatever else fills the disk


def _setting(path):
    return fanatico_plan.setting(__pillar__, path)


def _apply(sls=None):
    return fanatico_probe.apply_states(__salt__["state.apply"], __opts__["id"], sls)


# --- a host that was reinstalled; fanatico_cure.unprovisioned tells it


def build(timeout: float = 600) -> str:
    """
    Make this host what its roles make of it, by a highstate, and return what was done.

    timeout
        Seconds; a highstate has its own.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_node_cure.build
    """
    return _apply()


def unhealthy() -> str:
    """
    Return what is not yet well with a host that was rebuilt; empty where all is.

    CLI Example:

    .. code-block:: bash

        salt db3 fanatico_node_cure.unhealthy
    """
    health = __salt__["fanatico.health"]()
    bad = [one["detail"] for one in health["checks"].values() if one["status"] != "ok"]
    roles = fanatico_plan.roles(__pillar__["plan"], __opts__["id"])
    streams = __salt__["fanatico_patroni_cure.not_streaming"]() if "patroni" in roles else ""
    return bad[0] if bad else streams


# --- drift


def drifted() -> str:
    """
    Return what has drifted here and pillar ``heal:auto_remediate_drift`` allows to correct; empty without any.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_node_cure.drifted
    """
    kinds = _setting("heal:auto_remediate_drift")
    components = __salt__["fanatico_node.correctable"](kinds) if kinds else {}
    return f"drifted: {', '.join(components)}" if components else ""


def correct(timeout: float = 300) -> str:
    """
    Apply the states of the components that have drifted, as far as pillar ``heal:auto_remediate_drift`` allows, and return which.

    timeout
        Seconds; the states have their own.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_node_cure.correct
    """
    components = __salt__["fanatico_node.correctable"](_setting("heal:auto_remediate_drift"))
    _apply([sls for one in components.values() for sls in one])
    return f"{', '.join(components)} put right"


# --- a full disk


def disk_full() -> str:
    """
    Return how full a disk of this node is; empty where that is not critical.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico_node_cure.disk_full
    """
    check = __salt__["fanatico_node.disk"]()
    return check["detail"] if check["status"] == "critical" else ""


def make_room(timeout: float = 60) -> str:
    """
    Let go of what can be had again: packages that were installed from, journals and core dumps older than a day.

    What was written today stays: whoever looks for the cause needs it. Says which files are the largest: one of them is it.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_node_cure.make_room
    """
    before = shutil.disk_usage("/").free
    for folder in _SPARE_CACHES:
        for path in pathlib.Path(folder).glob("*.deb"):
            path.unlink(missing_ok=True)
    fanatico_probe.run("journalctl", "--rotate", f"--vacuum-time={_KEEPS}s", timeout=timeout)
    for path in pathlib.Path("/var/lib/systemd/coredump").glob("core.*"):
        if time.time() - path.stat().st_mtime > _KEEPS:
            path.unlink(missing_ok=True)
    room = (shutil.disk_usage("/").free - before) / 1024**2
    largest = ", ".join(f"{path} {size / 1024**2:.0f} MiB" for size, path in _largest_files(timeout / 4))
    return f"{room:.0f} MiB of packages, old journals and core dumps removed; the largest files: {largest}"


def _largest_files(seconds, count=3):
    """Return ``[(bytes, path), ...]`` of the largest files on the disk of ``/``, as far as it can be read in the time."""
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
