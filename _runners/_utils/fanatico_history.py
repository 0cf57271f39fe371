"""
The history: what was done and what was refused. A file with one JSON object in each line, append only.
"""

import json
import os
import time
from pathlib import Path

# Bytes from the end of the file that are read: requests are for the newest entries.
_TAIL = 4 * 1024 * 1024


def append(path, kind, decision, **facts):
    """
    Write one decision to the history and return the entry.

    kind
        ``heal``, ``freeze``, ``drift``, ``drill``, or the name of an orchestration, ``deploy``.
    decision
        ``healed``, ``refused``, ``left``, ``failed``, ``started``, ``finished``.
    facts
        What else the entry contains, as plain data: ``host``, ``what``, ``reason``, ``code``, ``took`` (seconds).
    """
    entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "kind": kind, "decision": decision, **facts}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # One write in append mode: lines of processes that write at the same time are not mixed.
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        os.write(handle, (json.dumps(entry) + "\n").encode())
    finally:
        os.close(handle)
    return entry


def newest(path, limit, host=None):
    """Return the ``limit`` newest entries, newest first, of one ``host`` or of all; lines that are no JSON are skipped."""
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
    """Return an entry as one line of text."""
    where = "/".join(entry[key] for key in ("host", "what") if entry.get(key))
    took = f" ({entry['took']:.1f} s)" if "took" in entry else ""
    text = f"{entry['time'][:19].replace('T', ' ')}  {entry['kind']:<6} {entry['decision']:<8} {where}"
    removed = f", {entry['removed']} bytes of replaced data deleted" if entry.get("removed") else ""
    return text + (f": {entry['reason']}" if entry.get("reason") else "") + removed + took
