"""Run on a database machine: check ten times a second, over the local socket, whether PostgreSQL accepts writes.

    python probe.py NODE          prints one JSON line per check: {"node", "sent", "done", "writable"}

Ends when its standard input ends. A write counts when it is acknowledged: a former leader that waits for lost replicas
accepts none. A standalone program.
"""

import json
import os
import pwd
import select
import sys
import time
from typing import Any

import psycopg

SETTINGS: dict[str, Any] = {
    "dbname": "postgres",
    "user": "postgres",
    "host": "/var/run/postgresql",
    "application_name": "drill",
}
STANDBY = "25006"


def ask(connection: psycopg.Connection) -> bool:
    """Return whether the server acknowledged a write."""
    try:
        connection.execute("SELECT pg_logical_emit_message(true, 'drill', '')")
    except psycopg.Error as exc:
        if exc.sqlstate == STANDBY or "recovery" in str(exc):
            return False
        raise
    return True


def main(node: str) -> None:
    """Check until standard input ends."""
    os.setgid(pwd.getpwnam("postgres").pw_gid)
    os.setuid(pwd.getpwnam("postgres").pw_uid)
    connection, due = None, time.monotonic()
    while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
        due = max(due + 0.1, time.monotonic())
        sent, writable = time.monotonic(), False
        try:
            connection = connection or psycopg.connect(**SETTINGS, autocommit=True, connect_timeout=2)
            writable = ask(connection)
        except psycopg.Error:
            connection = None
        print(
            json.dumps({"node": node, "sent": sent, "done": time.monotonic(), "writable": writable}),
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1])
