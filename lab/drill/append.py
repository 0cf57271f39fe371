"""Append to lists and read them through the virtual IP: the load of the consistency check (history.py).

    (cat password; sleep 60) | python append.py ADDRESS PRIMARY_PORT REPLICA_PORT CA SECONDS RUN OUT

Every append adds a unique number to one of many lists. OUT gets one JSON line for each attempt:

    {"kind": "append", "key", "id", "sent", "done", "outcome", "why"}
    {"kind": "read", "key", "length", "crc", "sent", "done"}

``sent`` and ``done`` are seconds of the monotonic clock. Ends when its standard input ends, or after SECONDS. A standalone
program; needs _utils/ on its path.
"""

import asyncio
import json
import random
import time

from history import crc

import fanatico_client as client

KEYS = 64
WORKERS, A_SECOND = 8, 8  # attempts per second of each worker: 64 together, one in four is a read
PER_WORKER = 10**7  # size of a worker's range of numbers

TABLE = "CREATE TABLE IF NOT EXISTS drill_append (run text, key int, list bigint[], PRIMARY KEY (run, key))"
APPEND = (
    "INSERT INTO drill_append VALUES (%s, %s, ARRAY[%s::bigint]) "
    "ON CONFLICT (run, key) DO UPDATE SET list = drill_append.list || excluded.list RETURNING cardinality(drill_append.list)"
)
READ = "SELECT coalesce((SELECT list FROM drill_append WHERE run = %s AND key = %s), '{}')"


async def work(worker, start, until, session, run, out):
    """Append and read at a fixed rate until the end."""
    rng, seq = random.Random(f"{run}-{worker}"), 0
    while (due := start + seq / A_SECOND) < until():
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        key, reads = rng.randrange(KEYS), rng.random() < 0.25
        line = {"kind": "read" if reads else "append", "key": key, "sent": time.monotonic()}
        if reads:
            outcome, found, _ = await client.attempt(session, READ, (run, key))
            line |= {"length": len(found), "crc": crc(found)} if outcome == "ok" else {}
        else:
            number = worker * PER_WORKER + seq
            outcome, _, why = await client.attempt(session, APPEND, (run, key, number))
            line |= {"id": number, "why": why}
        out.write(json.dumps(line | {"outcome": outcome, "done": time.monotonic()}) + "\n")
        seq += 1
    await session.drop()


async def main(connect, ports, seconds, run, out, stdin):
    """Create the table, print the start time and run the workers."""
    connect = connect | {"port": ports[0]}
    async with client.ending(connect, TABLE, seconds, stdin) as (start, until):
        sessions = [client.Session(connect) for _ in range(WORKERS)]
        await asyncio.gather(
            *(
                work(worker, start + worker / WORKERS / A_SECOND, until, session, run, out)
                for worker, session in enumerate(sessions)
            )
        )


if __name__ == "__main__":
    client.run(main)
