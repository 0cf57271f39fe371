"""Run on a lab machine: open COUNT sessions, or until one is refused; report it and hold them until standard input ends.

    (cat password; sleep 60) | hold.py ADDRESS PORT CA DATABASE USER COUNT

prints {"held": n, "refused": text or null, "from": [address and port of the first]}.
"""

import contextlib
import json
import os
import socket
import sys

import psycopg

address, port, ca, database, user, count = sys.argv[1:]
password, sessions, refused = sys.stdin.readline().strip(), [], None
while len(sessions) < int(count):
    try:
        sessions.append(
            psycopg.connect(
                host=address,
                port=port,
                dbname=database,
                user=user,
                password=password,
                sslmode="verify-full",
                sslrootcert=ca,
                connect_timeout=10,
                autocommit=True,
            )
        )
    except psycopg.Error as exc:
        refused = str(exc)
        break
here = None
if sessions:
    with socket.socket(fileno=os.dup(sessions[0].fileno())) as line:
        here = line.getsockname()
    with contextlib.suppress(psycopg.Error):  # the role may be read-only
        sessions[0].execute("CREATE TEMPORARY TABLE seen_by_an_auditor (n int)")
print(json.dumps({"held": len(sessions), "refused": refused, "from": here}), flush=True)
sys.stdin.read()
