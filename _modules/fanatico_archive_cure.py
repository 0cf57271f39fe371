"""
The fault of archiving that no timeout ends: a process of pgBackRest that hangs.
"""

import os
import pathlib
import signal
import time

import fanatico_plan
import fanatico_probe

_LIMIT = 2  # times `backup:archive_timeout` without a segment that is sent


def stuck() -> str:
    """
    Return which process of pgBackRest holds up the WAL of this primary; empty if WAL is sent, or cannot be.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_archive_cure.stuck
    """
    processes = _processes()
    limit = _LIMIT * fanatico_plan.setting(__pillar__, "backup:archive_timeout") if processes else 0
    old = [pid for pid, age in processes.items() if age > limit]
    if not old:
        return ""
    seen = __salt__["fanatico_archive.probe"](fanatico_probe.TIMEOUT)
    facts, reached = seen["facts"], seen["checks"].get("archive.repository", {})
    if facts.get("in_recovery") is not False or reached.get("status") != "ok" or not facts["waiting"]:
        return ""
    since = facts["archived_age"]
    if since is not None and since < limit:
        return ""  # a long queue that moves
    return f"process {old[0]} of pgBackRest hangs: {facts['waiting']} segments of WAL wait, none was sent for {limit} s"


def restart(timeout: float = 30) -> str:
    """
    Kill the processes of pgBackRest that send WAL; PostgreSQL starts another. Returns what was done.

    timeout
        Not used.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico_archive_cure.restart
    """
    killed = []
    for pid in _processes():
        try:
            os.kill(pid, signal.SIGKILL)
            killed.append(str(pid))
        except ProcessLookupError:
            continue  # it has ended meanwhile
    return (
        f"killed the processes {', '.join(killed)}; PostgreSQL sends again"
        if killed
        else "no process was left"
    )


def _processes():
    """Return ``{pid: seconds since its start}`` of the processes of pgBackRest that send WAL."""
    found, uptime = {}, time.clock_gettime(time.CLOCK_BOOTTIME)
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            started = int((path / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        except (OSError, IndexError, ValueError):
            continue
        if words[0].endswith(b"pgbackrest") and any(word.startswith(b"archive-push") for word in words):
            found[int(path.name)] = uptime - started / os.sysconf("SC_CLK_TCK")
    return found
