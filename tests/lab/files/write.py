"""Run on a lab machine: write through one session until stopped; print the result.

    write.py ADDRESS CA STOP < password      prints {"written": n, "longest": seconds, "error": text or null, "ended": when}
                                             and before it, once something is written, "writing"

STOP is a file; the session ends once it is there, after fifteen minutes in any case.
"""

import json
import os
import sys
import time

import psycopg

address, ca, stop = sys.argv[1:]
result = {"written": 0, "longest": 0.0, "error": None}
over = time.monotonic() + 900
try:
    with psycopg.connect(
        host=address,
        port=5432,
        dbname="fanatico",
        user="fanatico",
        password=sys.stdin.readline().strip(),
        sslmode="verify-full",
        sslrootcert=ca,
        connect_timeout=30,
        autocommit=True,
    ) as session:
        session.execute("CREATE TABLE IF NOT EXISTS written (at timestamptz)")
        while not os.path.exists(stop) and time.monotonic() < over:
            before = time.monotonic()
            session.execute("INSERT INTO written VALUES (now())")
            result["longest"] = max(result["longest"], time.monotonic() - before)
            result["written"] += 1
            if result["written"] == 1:
                print("writing", flush=True)
            time.sleep(0.02)
        session.execute("DROP TABLE written")
except psycopg.Error as exc:
    result["error"] = str(exc)
print(json.dumps({**result, "ended": time.time()}))
