"""
The master's memory of what was done and what was refused: one JSON object a line, only ever appended.
"""

import json
import os
import time
from pathlib import Path

# What lies further from the end is not read: nobody asks for the newest entries and means last year's.
_TAIL = 4 * 1024 * 1024


def append(path, kind, decision, **facts):
    """
    Write down one decision and return the entry.

    kind
        ``heal``, ``deploy``, ``freeze``.
    decision
        What came of it: ``healed``, ``refused``, ``left``, ``failed``, ``started``, ``finished``.
    facts
        Whatever else is worth keeping, JSON-able: ``host``, ``what``, ``reason``, ``took`` (seconds).
    """
    entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "kind": kind, "decision": decision, **facts}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # One write in append mode: lines of processes that write at the same time do not mix.
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        os.write(handle, (json.dumps(entry) + "\n").encode())
    finally:
        os.close(handle)
    return entry


def newest(path, limit, host=None):
    """Return the ``limit`` newest entries, newest first, of one ``host`` or all; broken lines are skipped."""
    try:
        with open(path, "rb") as handle:
            handle.seek(max(0, os.fstat(handle.fileno()).st_size - _TAIL))
            lines = handle.read().splitlines()
    except FileNotFoundError:
        return []
    found: list[dict] = []
    for line in reversed(lines):
        if len(found) == limit:
            break
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if host in (None, entry.get("host")):
            found.append(entry)
    return found


def line(entry):
    """Return an entry as one line for people."""
    where = "/".join(entry[key] for key in ("host", "what") if entry.get(key))
    took = f" ({entry['took']:.1f} s)" if "took" in entry else ""
    text = f"{entry['time'][:19].replace('T', ' ')}  {entry['kind']:<6} {entry['decision']:<8} {where}"
    return text + (f": {entry['reason']}" if entry.get("reason") else "") + took
