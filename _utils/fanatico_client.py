"""The client of a drill: write and read through the virtual IP at a fixed rate, and log every response.

    (cat password; sleep 60) | python fanatico_client.py ADDRESS PRIMARY_PORT REPLICA_PORT CA SECONDS RUN OUT

Open loop: the times of all attempts are fixed at the start, whatever happens to earlier attempts, so a client that waits cannot
hide an outage (coordinated omission). OUT gets one JSON line per attempt:

    {"kind": "write" or "read", "worker", "seq", "due", "done", "outcome", "server", "why"}

``due`` and ``done`` are seconds of the monotonic clock, which all machines of the lab share. ``outcome`` is ``ok``
(acknowledged), ``failed`` (never sent, or refused) or ``unknown`` (sent, no response: it may have been committed). It does not
need the rest of the tree. It ends when its standard input is closed, or after SECONDS.
"""

import asyncio
import contextlib
import json
import os
import socket
import sys
import time
from typing import Any

import psycopg

WRITERS, WRITES_A_SECOND = 8, 25  # per writer; 200 writes per second in total
READERS, READS_A_SECOND = 2, 10
CONNECT_WITHIN, ANSWER_WITHIN, AGAIN_AFTER = 0.5, 1.0, 0.05  # seconds

TABLE = "CREATE TABLE IF NOT EXISTS drill_ledger (run text, worker int, seq int, server inet, PRIMARY KEY (run, worker, seq))"
WRITE = "INSERT INTO drill_ledger VALUES (%s, %s, %s, inet_server_addr()) RETURNING host(inet_server_addr())"
READ = (
    "SELECT host(inet_server_addr()) FROM "
    "(SELECT count(*) FROM drill_ledger WHERE run = %s AND worker = %s AND seq = %s) AS one"
)


class Session:
    """A database session that reconnects; one connection at a time."""

    def __init__(self, settings):
        self.settings = settings
        self.connection: Any = None  # psycopg.AsyncConnection while there is one
        self.next_try = 0.0

    async def ready(self):
        """Connect if necessary. Return None if there is a connection, else the reason."""
        if self.connection:
            return None
        if time.monotonic() < self.next_try:
            return "not connected"
        try:
            connecting = psycopg.AsyncConnection.connect(**self.settings, autocommit=True)
            self.connection = await asyncio.wait_for(connecting, CONNECT_WITHIN)
        except (TimeoutError, psycopg.Error) as exc:
            self.next_try = time.monotonic() + AGAIN_AFTER
            return reason(exc)
        return None

    async def ask(self, statement, values):
        """Return (first column of the first row, None), or (None, reason) after closing the connection."""
        asked = asyncio.ensure_future(self.connection.execute(statement, values))
        late = not (await asyncio.wait({asked}, timeout=ANSWER_WITHIN))[0]
        if late:
            # Cut the connection instead of canceling the query: a canceled commit is acknowledged without its replicas.
            with socket.socket(fileno=os.dup(self.connection.fileno())) as line, contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        try:
            cursor = await asked
            return (await cursor.fetchone())[0], None
        except psycopg.Error as exc:
            await self.drop()
            return None, "no answer" if late else reason(exc)

    async def drop(self):
        """Close the connection."""
        connection, self.connection = self.connection, None
        if connection:
            await connection.close()


def rate(writers=WRITERS):
    """Return the writes per second of a number of writers."""
    return writers * WRITES_A_SECOND


def reason(exc):
    """Return a short cause: the SQLSTATE if the server sent one, else the class of the exception."""
    return getattr(exc, "sqlstate", None) or type(exc).__name__


async def attempt(session, statement, values):
    """Try once; return (outcome, server, reason)."""
    why = await session.ready()
    if why:
        return "failed", None, why
    server, why = await session.ask(statement, values)
    if why is None:
        return "ok", server, None
    # 25006: a standby refused it, nothing was written. After any other error the outcome is unknown.
    return ("failed" if why == "25006" else "unknown"), None, why


async def pace(kind, worker, rate, start, until, session, statement, run, out):
    """Make attempts at their due times until ``until()``, in seconds of the monotonic clock."""
    seq = 0
    while (due := start + seq / rate) < until():
        now = time.monotonic()
        if now < due:
            await asyncio.sleep(due - now)
        if now > due + 1 / rate and not session.connection:
            # Its due time passed without a connection.
            outcome, server, why = "failed", None, "not connected"
        else:
            outcome, server, why = await attempt(session, statement, (run, worker, seq))
        line = {"kind": kind, "worker": worker, "seq": seq, "due": due, "done": time.monotonic()}
        out.write(json.dumps(line | {"outcome": outcome, "server": server, "why": why}) + "\n")
        seq += 1
    await session.drop()


def settings(address, authority, password, database="fanatico", user="fanatico"):
    """Return connection parameters with which an application notices a lost peer within seconds."""
    return {
        "host": address,
        "dbname": database,
        "user": user,
        "password": password,
        "sslmode": "verify-full",
        "sslrootcert": authority,
        "tcp_user_timeout": 1000,
        "keepalives_idle": 1,
        "keepalives_interval": 1,
        "keepalives_count": 3,
    }


@contextlib.asynccontextmanager
async def ending(connect, table, seconds, stdin=None):
    """
    Create the table, print the start time, and yield (start, function that returns the end time).

    connect
        What ``settings`` returned, with the port of the primary.
    table
        The SQL statement that creates the table.
    seconds
        Duration.
    stdin
        The work ends early when this file is closed.
    """
    async with await psycopg.AsyncConnection.connect(**connect, autocommit=True) as connection:
        await connection.execute(table)
    start = time.monotonic() + 1
    ends = [start + seconds]
    loop = asyncio.get_running_loop()

    def stop():
        loop.remove_reader(stdin)
        ends.append(time.monotonic())

    if stdin:
        loop.add_reader(stdin, stop)
        sys.stdout.write(json.dumps({"start": start}) + "\n")
        sys.stdout.flush()
    yield start, lambda: min(ends)


async def main(connect, ports, seconds, name, out, stdin=None, writers=WRITERS, readers=READERS):
    """
    Write and read until the end.

    connect
        What ``settings`` returned.
    ports
        Port of the primary and port of the replicas.
    seconds
        Maximum duration.
    name
        Name of the run, written into each row.
    out
        A text file for the lines.
    stdin
        The work ends early when this file is closed.
    writers, readers
        Their numbers; each works at its own rate.
    """
    primary, replicas = ports
    async with ending(connect | {"port": primary}, TABLE, seconds, stdin) as (start, until):

        def worker(kind, number, count, rate, port, statement):
            session, first = Session(connect | {"port": port}), start + number / rate / count
            return pace(kind, number, rate, first, until, session, statement, name, out)

        await asyncio.gather(
            *(worker("write", n, writers, WRITES_A_SECOND, primary, WRITE) for n in range(writers)),
            *(worker("read", n, readers, READS_A_SECOND, replicas, READ) for n in range(readers)),
        )


def run(work):
    """Read arguments and password, and run ``work``: ``main`` or a function with its arguments."""
    address, primary, replicas, authority, seconds, name, path = sys.argv[1:]
    # Unbuffered: everything after the password is left to `work`.
    unbuffered: Any = sys.stdin.buffer
    password = unbuffered.raw.readline().decode().strip()
    with open(path, "w", buffering=1) as out:
        connect, ports = settings(address, authority, password), (int(primary), int(replicas))
        asyncio.run(work(connect, ports, float(seconds), name, out, sys.stdin))


if __name__ == "__main__":
    run(main)
