"""
Decide whether a moment of the past can be restored, and from which backup. Pure.
"""

import fanatico_restore_target
from fanatico_restore_target import LATEST, text

HEARTBEAT = 30  # seconds between two commits at most: a target needs a commit after it in the WAL
_ROOM = 1.2  # free space that a copy needs, as a factor of the size of the databases
_RATE = 20 * 1024**2  # bytes per second, before the first restore drill has measured it


class Refused(Exception):
    """The moment cannot be restored; the message is the reason and the nearest moment that can."""


def plan(target, reach, now, in_place=False, committed=0):
    """
    Return what a restore to a target would do.

    target
        See ``fanatico_restore_target.read``.
    reach
        What ``fanatico_backup.reach`` returned.
    now
        Seconds since 1970.
    in_place
        The cluster is restored, not a copy: the space on the backup host does not matter.
    committed
        Seconds since 1970 of a moment before a commit that is in the repository.

    Returns ``{"target": text, "kind", "value", "timeline": 0 for the latest, "moment": seconds since 1970 or None, "backup":
    label, "newest_timeline": of the WAL in the repository, "earliest", "latest": text, "bytes", "free", "seconds": estimate}``.
    Raises ``Refused``.
    """
    try:
        kind, value = fanatico_restore_target.read(target)
    except ValueError as exc:
        raise Refused(str(exc)) from None
    good = [backup for backup in reach["backups"] if not backup["error"]]
    if not good:
        raise Refused("there is no backup yet. Next: salt-run fanatico.status")
    span = _span(good, reach, committed)
    moment = float(value) if kind == "time" else None
    if moment is not None:
        _check_moment(moment, now, span)
    timeline, periods = history(reach.get("restores", ()), now if moment is None else moment)
    usable = [backup for backup in good if any(begin <= backup["stop"] < end for begin, end in periods)]
    chosen = _chosen(usable, kind, value)
    if chosen is None:
        raise Refused(f"no backup ends before {target}. Next: the earliest moment: target='{text(span[0])}'")
    if not in_place and reach["free"] < _ROOM * chosen["size"]:
        raise Refused(
            f"the copy needs {_ROOM * chosen['size'] / 1024**3:.1f} GiB, and {reach['free'] / 1024**3:.1f} GiB are free there. "
            "Next: free space, or set backup:clone_directory to another disk"
        )
    return {
        "target": text(moment) if moment is not None else f"{kind}:{value}" if kind else LATEST,
        "kind": kind,
        "value": value,
        "timeline": timeline,
        "moment": moment,
        "backup": chosen["label"],
        "earliest": text(span[0]),
        "latest": text(span[1]),
        "newest_timeline": reach.get("timeline", 0),
        "bytes": chosen["size"],
        "free": reach["free"],
        "seconds": round(5 + chosen["size"] / _rate(reach["drill"])),
    }


def _span(good, reach, committed):
    """Return the first and the last moment that can be restored."""
    earliest = good[0]["stop"] + 1
    return earliest, max(earliest, committed, (reach["newest"] or earliest) - HEARTBEAT)


def _check_moment(moment, now, span):
    """Raise where a moment is out of reach."""
    if moment > now:
        raise Refused(f"{text(moment)} is in the future. Next: target={LATEST}")
    if span[0] <= moment <= span[1]:
        return
    nearest = text(span[0] if moment < span[0] else span[1])
    early = moment < span[0]
    when = "before the end of the oldest backup" if early else "after the last WAL in the repository"
    raise Refused(
        f"{text(moment)} is {when}. It can be restored from {text(span[0])} to {text(span[1])}. Next: the nearest: "
        f"target='{nearest}'"
    )


def history(restores, moment):
    """
    Return the timeline on which the cluster was at a moment, and when what it consisted of was written.

    restores
        ``[{"at": when a restored cluster began to serve, "moment": to which it was restored, "before": timeline until then}]``;
        times in seconds since 1970.
    moment
        Seconds since 1970.

    Returns ``(timeline, [(begin, end), ...])``: 0 for the latest timeline, since failovers need no choice. A backup of another
    period belongs to a branch that was given up.
    """
    later = [restore for restore in restores if restore["at"] > moment]
    timeline = min(later, key=lambda restore: restore["at"])["before"] if later else 0
    periods, end = [], moment
    for restore in sorted(restores, key=lambda restore: -restore["at"]):
        if restore["at"] <= end:
            periods.append((restore["at"], end))
            end = restore["moment"]
    return timeline, [*periods, (0, end)]


def _chosen(usable, kind, value):
    """Return the newest backup that surely ends before the target; None without any."""
    if kind == "lsn":
        end = _lsn(value)
        usable = [backup for backup in usable if backup.get("lsn") and _lsn(backup["lsn"]) < end]
    if not usable:
        return None
    # Nobody knows when a transaction or a name was written: the oldest backup reaches both.
    return usable[0] if kind in ("xid", "name") else usable[-1]


def _lsn(words):
    high, _, low = words.partition("/")
    return int(high, 16) * 2**32 + int(low, 16)


def _rate(drill):
    """Return the bytes per second that the last restore drill has measured."""
    if not drill or drill["error"]:
        return _RATE
    return drill["bytes"] / max(1.0, drill["restore_seconds"] + drill["recovery_seconds"])
