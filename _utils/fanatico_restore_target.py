"""
Where a restore ends: what an operator types, and what the program on a host gets. Pure.
"""

import datetime
import re

LATEST = "latest"
# What may stand after the kind. A time is in seconds since 1970 once it is read.
_VALUES = {
    "time": re.compile(r"[0-9]{1,12}(?:\.[0-9]+)?"),
    "xid": re.compile(r"[0-9]{1,20}"),
    "lsn": re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}"),
    "name": re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"),
}
_EXAMPLES = "a time with its zone ('2026-11-28 12:00:00+00'), xid:…, lsn:…, name:…, or latest"


def read(target):
    """
    Return ``(kind, value)`` of a target as an operator types it; ``("", "")`` for ``latest``.

    target
        ``latest``; a time with its zone, ``2026-11-28 12:00:00+00``; ``xid:4711``; ``lsn:0/5000060``; ``name:`` and a name given
        to ``pg_create_restore_point``.

    The value of a time is in seconds since 1970. Raises ``ValueError`` with the reason and the next step.
    """
    text = str(target).strip()
    if text == LATEST:
        return "", ""
    kind, _, value = text.partition(":")
    if kind in ("xid", "lsn", "name"):
        value = value.upper() if kind == "lsn" else value
        if not _VALUES[kind].fullmatch(value):
            raise ValueError(f"{text[:60]!r} is no {kind}. Next: target={_EXAMPLES}")
        return kind, value
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no target. Next: target={_EXAMPLES}") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone. Next: target='{text}+00' for UTC")
    return "time", repr(moment.timestamp())


def environment(backup, kind, value, timeline):
    """
    Return the variables for the unit that restores, ``{name: text}``.

    backup
        The label of the backup.
    kind, value
        As ``read`` returned them.
    timeline
        The number of the timeline; 0: the latest.

    Raises ``ValueError`` for a value that none of them can have.
    """
    if not re.fullmatch(r"[0-9]{8}-[0-9]{6}F(?:_[0-9]{8}-[0-9]{6}[DI])?", str(backup)):
        raise ValueError(f"{str(backup)[:60]!r} is no label of a backup")
    if kind and not (kind in _VALUES and _VALUES[kind].fullmatch(str(value))):
        raise ValueError(f"{str(kind)[:20]}:{str(value)[:60]} is no target")
    return {
        "BACKUP": str(backup),
        "KIND": str(kind),
        "VALUE": str(value) if kind else "",
        "TIMELINE": str(int(timeline)) if timeline else "",
    }


def text(moment):
    """Return seconds since 1970 as a time in UTC, as the operator types it."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S+00")
