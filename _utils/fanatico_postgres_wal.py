"""
Where the write-ahead log of a PostgreSQL that does not run begins and ends. Pure.
"""

import re

_SEGMENT = re.compile(r"[0-9A-F]{24}")
_RECORD = re.compile(r"\blsn: ([0-9A-F]+)/([0-9A-F]+),")


def start(control, names):
    """
    Return where to read the WAL from, ``(timeline, "X/Y")``.

    control
        The output of ``pg_controldata``.
    names
        The names of the files in ``pg_wal``.

    That is the redo location of the last checkpoint; after a change of the timeline, the first segment of the newest timeline.
    Raises ``ValueError`` if the control file does not name them.
    """
    facts = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in control.splitlines())
    }
    try:
        redo = number(facts["Latest checkpoint's REDO location"])
        timeline = int(facts["Latest checkpoint's TimeLineID"])
        size = int(facts["Bytes per WAL segment"])
    except (KeyError, ValueError) as exc:
        raise ValueError(f"pg_controldata does not show the last checkpoint ({exc})") from None
    newest = max([timeline, *(int(name[:8], 16) for name in names if _SEGMENT.fullmatch(name))])
    if newest == timeline:
        return timeline, text(redo)
    segments = [
        int(name[8:16], 16) * (2**32 // size) + int(name[16:], 16)
        for name in names
        if _SEGMENT.fullmatch(name) and int(name[:8], 16) == newest
    ]
    return newest, text(max(redo, min(segments) * size))


def record(line):
    """Return the LSN, in bytes, of a record in the output of ``pg_waldump``; None if the line shows none."""
    found = _RECORD.search(line)
    return int(found[1], 16) * 2**32 + int(found[2], 16) if found else None


def number(lsn):
    """Return an LSN, ``X/Y``, in bytes. Raises ``ValueError``."""
    high, _, low = lsn.partition("/")
    return int(high, 16) * 2**32 + int(low, 16)


def text(lsn):
    """Return an LSN of bytes as PostgreSQL writes it, ``X/Y``."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
