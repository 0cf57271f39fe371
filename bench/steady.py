"""A JSON-RPC client with a fixed schedule: `python -m bench.steady ADDRESS PORT RATE SECONDS`, run in its network namespace.

Prints ``{"seconds": [duration of each answer], "heads": [[heads in order, for each connection]], "failed": [reason]}``.
Each process has one connection and measures from the moment of sending. The client's HTTP is minimal, so that its own cost does
not distort the figures.
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
    """One connection, which is reopened after a failure."""

    def __init__(self, address: str, port: int) -> None:
        self.place = (address, port)
        self.socket: socket.socket | None = None

    def ask(self) -> bytes:
        """Send a request and return the answer's body. Raises OSError or ValueError without a valid answer."""
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
                raise ConnectionError("closed without an answer")
            found += piece


def ask(address: str, port: int, every: float, begin: float, end: float) -> dict[str, list]:
    """Send a request every ``every`` seconds from ``begin`` to ``end``; return ``{"seconds", "heads", "failed"}``."""
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
    """Run all connections and print the results."""
    every, begin = CONNECTIONS / float(rate), time.monotonic() + 1
    starts = [begin + number * every / CONNECTIONS for number in range(CONNECTIONS)]
    with multiprocessing.get_context("fork").Pool(CONNECTIONS) as pool:
        results = pool.starmap(
            ask,
            [(address, int(port), every, start, start + float(seconds)) for start in starts],
            chunksize=1,
        )
    whole = {key: [value for result in results for value in result[key]] for key in ("seconds", "failed")}
    print(json.dumps({**whole, "heads": [result["heads"] for result in results]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
