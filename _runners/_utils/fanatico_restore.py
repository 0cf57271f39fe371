"""
Decide whether a moment of the past can be restored, and from which backup. Pure.
"""

import datetime

LATEST = "latest"
HEARTBEAT = 30  # seconds between two commits at most: a target needs a commit after it in the WAL
_ROOM = 1.2  # free space that a copy needs, as a factor of the size of the databases
_RATE = 20 * 1024**2  # bytes per second, before the first restore drill has measured it


class Refused(Exception):
    """The moment cannot be restored; the message is the reason and the nearest moment that can."""


def plan(target, reach, now):
    """
    Return what a restore to a moment would do.

    target
        ``latest``, or a time with its zone: ``2026-11-28 12:00:00+00``.
    reach
        What ``fanatico_backup.reach`` returned.
    now
        Seconds since 1970.

    Returns ``{"target": text, "moment": seconds since 1970 or None, "backup": label, "earliest", "latest": text, "bytes",
    "free", "seconds": estimate}``. Raises ``Refused``.
    """
    good = [backup for backup in reach["backups"] if not backup["error"]]
    if not good:
        raise Refused("there is no backup yet. Next: salt-run fanatico.status")
    earliest = good[0]["stop"] + 1
    latest = max(earliest, (reach["newest"] or earliest) - HEARTBEAT)
    moment = _moment(target, now)
    span = {"earliest": text(earliest), "latest": text(latest)}
    if moment is not None and not earliest <= moment <= latest:
        nearest = text(earliest if moment < earliest else latest)
        when = (
            "before the end of the oldest backup"
            if moment < earliest
            else "after the last WAL in the repository"
        )
        raise Refused(
            f"{text(moment)} is {when}. It can be restored from {span['earliest']} to {span['latest']}. Next: the nearest: "
            f"target='{nearest}'"
        )
    chosen = good[-1] if moment is None else [backup for backup in good if backup["stop"] < moment][-1]
    if reach["free"] < _ROOM * chosen["size"]:
        raise Refused(
            f"the copy needs {_ROOM * chosen['size'] / 1024**3:.1f} GiB, and {reach['free'] / 1024**3:.1f} GiB are free there. "
            "Next: free space, or set backup:clone_directory to another disk"
        )
    return {
        "target": LATEST if moment is None else text(moment),
        "moment": moment,
        "backup": chosen["label"],
        **span,
        "bytes": chosen["size"],
        "free": reach["free"],
        "seconds": round(5 + chosen["size"] / _rate(reach["drill"])),
    }


def _rate(drill):
    """Return the bytes per second that the last restore drill has measured."""
    if not drill or drill["error"]:
        return _RATE
    return drill["bytes"] / max(1.0, drill["restore_seconds"] + drill["recovery_seconds"])


def _moment(target, now):
    if target == LATEST:
        return None
    try:
        moment = datetime.datetime.fromisoformat(str(target))
    except ValueError:
        raise Refused(
            f"{str(target)[:60]!r} is no time. Next: target='2026-11-28 12:00:00+00', with the zone, or target={LATEST}"
        ) from None
    if moment.tzinfo is None:
        raise Refused(f"{target} has no time zone. Next: target='{target}+00' for UTC")
    if moment.timestamp() > now:
        raise Refused(f"{target} is in the future. Next: target={LATEST}")
    return moment.timestamp()


def text(moment):
    """Return seconds since 1970 as a time in UTC, as the operator types it."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S+00")
