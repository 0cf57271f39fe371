"""
The files by which a database host knows that a restore of the cluster has not ended.
"""

import pathlib
import shutil

import fanatico_aside

HOLD = "/var/lib/fanatico/patroni.hold"  # Patroni's unit does not start while it exists
PATRONI = "/etc/patroni/patroni.yml"
UNDO, UNDONE = (
    fanatico_aside.UNDO,
    "undone",
)  # data of before the restore; of a restored cluster that served and was undone


def mark(data):
    """Return the path of the mark that restore_cluster.py makes: what is in the data directory can be restored once more."""
    data = pathlib.Path(data)
    return data.with_name(f"{data.name}.restoring")


def state(data):
    """
    Return what a restore has changed on this host, and the room for one.

    data
        The data directory.

    ``{"held": whether Patroni is prevented from starting, "restoring": whether the data directory has restored data that has not
    served, "undo": [paths of the data before the restore], "undone": [paths], "data": whether there is data, "configured":
    whether Patroni is, "free": bytes on its disk, "obstacle": why the data cannot be moved, or empty}``.
    """
    data = pathlib.Path(data)
    parent = next(path for path in data.parents if path.exists())
    return {
        "held": pathlib.Path(HOLD).exists(),
        "restoring": mark(data).exists(),
        "undo": fanatico_aside.paths(data, UNDO),
        "undone": fanatico_aside.paths(data, UNDONE),
        "data": (data / "global" / "pg_control").exists(),
        "configured": pathlib.Path(PATRONI).exists(),
        "free": shutil.disk_usage(parent).free,
        "obstacle": fanatico_aside.obstacle(data) if data.exists() else "",
    }
