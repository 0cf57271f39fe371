"""
How far the write-ahead log (WAL) on this node reaches, whether PostgreSQL runs or not.
"""

import pathlib
import subprocess

from salt.exceptions import CommandExecutionError

import fanatico_postgres_wal
import fanatico_postmaster
import fanatico_probe

__virtualname__ = "fanatico_postgres"

# On a replica the control file may name an older timeline than the one that the node follows.
_RUNNING = """
    SELECT pg_is_in_recovery() AS in_recovery,
           CASE WHEN pg_is_in_recovery()
                THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), '0/0')
                ELSE pg_current_wal_insert_lsn()
           END - '0/0'::pg_lsn AS lsn,
           CASE WHEN pg_is_in_recovery()
                THEN greatest(c.timeline_id, r.min_recovery_end_timeline, (SELECT received_tli FROM pg_stat_wal_receiver))
                ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int
           END AS timeline
      FROM pg_control_checkpoint() AS c, pg_control_recovery() AS r
"""


def __virtual__():
    return __virtualname__


def wal_end(timeout: float = 60) -> dict:
    """
    Return how far this node's WAL reaches, to find the node with the newest data.

    timeout
        Seconds for reading the WAL of a PostgreSQL that does not run.

    Returns ``{"running": bool, "in_recovery": bool or None, "timeline": int, "lsn": int}``, ``{}`` without data. ``lsn`` counts
    bytes; that of a PostgreSQL that does not run is the start of its last complete record. Of two nodes, the one with the
    higher ``(timeline, lsn)`` has the newer data. Raises ``CommandExecutionError`` if the WAL cannot be read.

    CLI Example:

    .. code-block:: bash

        salt 'db*' fanatico_postgres.wal_end
    """
    wanted = __salt__["fanatico_postgres.wanted"]()
    data, programs = pathlib.Path(wanted["data_dir"]), pathlib.Path(wanted["bin_dir"])
    if not (data / "global" / "pg_control").exists():
        return {}
    try:
        (row,) = __salt__["fanatico_postgres.query"](_RUNNING, timeout=2)
        return {"running": True, **row, "lsn": int(row["lsn"]), "timeline": int(row["timeline"])}
    except CommandExecutionError as exc:
        if fanatico_postmaster.pid(data):
            raise CommandExecutionError(
                f"{exc}. PostgreSQL runs, but cannot be asked. Next: salt {__opts__['id']} fanatico.health"
            ) from exc
    return {"running": False, "in_recovery": None, **_read(data, programs, timeout)}


def _read(data, programs, timeout):
    """Return timeline and LSN of the last record in the WAL files."""
    control = fanatico_probe.run(str(programs / "pg_controldata"), "-D", str(data))
    names = [path.name for path in (data / "pg_wal").iterdir()]
    try:
        timeline, start = fanatico_postgres_wal.start(control.stdout, names)
    except ValueError as exc:
        raise CommandExecutionError(f"{__opts__['id']}: {data}: {exc}") from exc
    where = ["--path", str(data / "pg_wal"), "--timeline", str(timeline), "--start", start]
    last, error = _last_line([str(programs / "pg_waldump"), *where], timeout)
    lsn = fanatico_postgres_wal.record(last)
    if lsn is None:
        raise CommandExecutionError(
            f"{__opts__['id']}: no record of the WAL from {start} on timeline {timeline} can be read: {error[-300:].strip()}"
        )
    return {"timeline": timeline, "lsn": lsn}


def _last_line(argv, timeout):
    """Run a program with much output; return its last line, and what it wrote to stderr."""
    limited = ["timeout", str(timeout), *argv]
    with subprocess.Popen(limited, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        last = ""
        for line in process.stdout or ():
            last = line
        error = process.stderr.read() if process.stderr else ""
    if process.returncode == 124:
        raise CommandExecutionError(f"{__opts__['id']}: {argv[0]} has not ended within {timeout:g} s")
    return last, error
