"""A client of JSON-RPC that asks on schedule: `python -m bench.steady ADDRESS PORT RATE SECONDS`, run where its network is.

Prints ``{"seconds": [how long each answer took], "heads": [[the heads, in order, for each connection]], "failed": [why]}``.
Each of its processes has one connection, and measures from the moment at which it sends. It speaks as little HTTP as will do:
what is measured is not to be the client.
"""

import json
import multiprocessing
import re
import socket
import sys
import time

CONNECTIONS = 8
BODY = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []})
REQUEST = (
    f"POST / HTTP/1.1\r\nHost: rpc\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}"
).encode()
LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


class Connection:
    """One connection, which is made again after it failed."""

    def __init__(self, address: str, port: int) -> None:
        self.place = (address, port)
        self.socket: socket.socket | None = None

    def ask(self) -> bytes:
        """Return the answer's body; raises OSError or ValueError where it is none."""
        try:
            if self.socket is None:
                self.socket = socket.create_connection(self.place, 10)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.sendall(REQUEST)
            return self._answer(self.socket)
        except (OSError, ValueError):
            if self.socket:
                self.socket.close()
            self.socket = None
            raise

    def _answer(self, connection: socket.socket) -> bytes:
        found = b""
        while True:
            head, end, body = found.partition(b"\r\n\r\n")
            length = LENGTH.search(head + b"\r\n")
            if end:
                if not (length and head.startswith(b"HTTP/1.1 200 ")):
                    raise ValueError(f"answered {found[:300]!r}")
                if len(body) >= int(length[1]):
                    return body
            piece = connection.recv(65536)
            if not piece:
                raise ConnectionError("ended without an answer")
            found += piece


def ask(address: str, port: int, every: float, begin: float, end: float) -> dict[str, list]:
    """Ask every so many seconds, from one moment to another; return what came of it."""
    connection, due = Connection(address, port), begin
    result: dict[str, list] = {"seconds": [], "heads": [], "failed": []}
    while due < end:
        time.sleep(max(0, due - time.monotonic()))
        sent = time.monotonic()
        try:
            body = connection.ask()
            result["seconds"].append(time.monotonic() - sent)
            result["heads"].append(int(json.loads(body)["result"], 16))
        except (OSError, ValueError, LookupError) as exc:
            result["failed"].append(repr(exc))
        due += every
    return result


def main(address: str, port: str, rate: str, seconds: str) -> None:
    """Ask, and print what came of it."""
    every, begin = CONNECTIONS / float(rate), time.monotonic() + 1
    starts = [begin + number * every / CONNECTIONS for number in range(CONNECTIONS)]
    with multiprocessing.get_context("fork").Pool(CONNECTIONS) as pool:
        results = pool.starmap(
            ask,
            [(address, int(port), every, start, start + float(seconds)) for start in starts],
            chunksize=1,
        )
    whole = {key: [one for result in results for one in result[key]] for key in ("seconds", "failed")}
    print(json.dumps({**whole, "heads": [result["heads"] for result in results]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
