"""An attacker with several attacks at once: `python -m bench.harm ADDRESS HTTP WS SECONDS SEED SOURCES TRUSTED`.

Run it in its network namespace. SOURCES are its own addresses, separated by commas; TRUSTED are addresses of CloudFlare, from
which it names clients of other IPv6 networks. The number of threads and the duration are limited, with a pause after each
attack. Prints ``{attack: {result: count}}``; a result is an HTTP status, ``held`` (no answer, connection open) or ``ended``
(closed without an answer).
"""

import collections
import json
import random
import socket
import sys
import threading
import time

from bench import flood

CALL = {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}
METHODS = (
    "eth_blockNumber", "eth_chainId", "eth_getLogs", "eth_sendRawTransaction", "eth_sign", "admin_peers", "ETH_chainId", "eth_",
    "debug_traceBlock", "miner_start", "\\u0065th_chainId", "net_version", "", "x" * 5000,
)  # fmt: skip
HANDSHAKE = (
    "GET / HTTP/1.1\r\nHost: rpc\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: ZmFuYXRpY28taGVhbHRoeQ==\r\n"
)


def post(body, *headers, length=None):
    """Return a request with a body, as bytes."""
    head = ["POST / HTTP/1.1", "Host: rpc", "Content-Type: application/json"]
    head.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*head, *headers, "", ""]).encode() + body


def fuzzed(draw):
    """Return a mutated request: other methods, nested values, corrupt bytes, a corrupt head."""
    call = {
        **CALL,
        "method": draw.choice(METHODS),
        "id": draw.choice([1, None, "x", 1e308, [], {}, -(2**63)]),
    }
    call["params"] = draw.choice([[], {}, None, [[[]]] * draw.randrange(200), ["0" * draw.randrange(9000)]])
    body = json.dumps(draw.choice([call, [call] * draw.randrange(40), {"a": call}, [[call]]])).encode()
    if draw.random() < 0.1:
        body = b"[" * draw.randrange(1, 60_000)
    if draw.random() < 0.2:
        body = body.replace(b'"method"', b'"method":"eth_chainId","method"', 1)
    broken = bytearray(body)
    for _ in range(draw.choice([0, 0, 1, 5, 50])):
        broken[draw.randrange(len(broken))] = draw.randrange(256)
    request = bytearray(
        post(bytes(broken), *draw.choice([(), (), ("Transfer-Encoding: chunked",), ("X: " + "y" * 9000,)]))
    )
    if draw.random() < 0.1:
        request[draw.randrange(60)] = draw.randrange(256)
    return bytes(request)


def chunked(draw):
    """Return a request with a chunked body, whose chunk sizes may be wrong."""
    pieces = []
    for _ in range(draw.randrange(1, 40)):
        piece = draw.randbytes(draw.randrange(1, 4000)) if draw.random() < 0.3 else json.dumps(CALL).encode()
        size = len(piece) + draw.choice([0, 0, 0, 1, -1, 2**31])
        pieces.append(f"{size:x}\r\n".encode() + piece + b"\r\n")
    head = (
        "POST / HTTP/1.1\r\nHost: rpc\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    return head.encode() + b"".join(pieces) + b"0\r\n\r\n"


class Harm:
    """Attacks on one address, and their results."""

    def __init__(self, address, http, ws, seconds, seed, sources, trusted):
        self.http, self.ws, self.until = (
            (address, int(http)),
            (address, int(ws)),
            time.monotonic() + float(seconds),
        )
        self.seed, self.sources, self.trusted = seed, sources.split(","), trusted.split(",")
        self.seen = collections.defaultdict(collections.Counter)
        self._lock = threading.Lock()

    def note(self, way, what):
        """Count a result of an attack."""
        with self._lock:
            self.seen[way][what] += 1

    def sent(self, way, place, source, *pieces, pause=0.0, wait=3.0):
        """Send pieces on a new connection and count the result."""
        try:
            with socket.create_connection(place, 3, source_address=(source, 0)) as connection:
                connection.settimeout(wait)
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(pause if time.monotonic() < self.until else 0)
                answer = connection.recv(4096)
                self.note(way, answer[9:12].decode("ascii", "replace") if answer else "ended")
        except TimeoutError:
            self.note(way, "held")
        except OSError:
            self.note(way, "ended")

    def fuzz(self, draw):
        """Send one mutated request."""
        self.sent("fuzzed", self.http, draw.choice(self.sources), fuzzed(draw))

    def chunks(self, draw):
        """Send one chunked body."""
        self.sent("chunked", self.http, draw.choice(self.sources), chunked(draw))

    def slow_head(self, draw):
        """Send a head at four bytes per second."""
        head = post(json.dumps(CALL).encode())
        self.sent(
            "slow head",
            self.http,
            draw.choice(self.sources),
            *(head[n : n + 4] for n in range(0, 80, 4)),
            pause=1,
        )

    def slow_body(self, draw):
        """Send a body in forty pieces, without its end."""
        whole = post(b" " * draw.choice([50, 20_000, 100_000]))
        pieces = [
            whole[n : n + len(whole) // 40 + 1] for n in range(0, len(whole) - 10, len(whole) // 40 + 1)
        ]
        self.sent("slow body", self.http, draw.choice(self.sources), *pieces, pause=draw.choice([0.5, 1, 2]))

    def burst(self, draw):
        """Send expensive batches from one address, as fast as they are answered, for one second."""
        seen: dict[str, int] = collections.Counter()
        flood.busy(self.http, draw.choice(self.sources), min(time.monotonic() + 1, self.until), seen)
        for what, times in seen.items():
            with self._lock:
                self.seen["burst"][what] += times
        time.sleep(1)

    def sixes(self, draw):
        """Send a request through CloudFlare from a random IPv6 network."""
        client = ":".join(
            f"{part:x}" for part in (0x2001, 0xDB8, draw.randrange(2**16), draw.randrange(2**16), 0, 0, 0, 1)
        )
        body = json.dumps({**CALL, "method": draw.choice(METHODS)}).encode()
        request = post(body, f"CF-Connecting-IP: {client}", "Connection: close")
        self.sent("IPv6 networks", self.http, draw.choice(self.trusted), request)

    def sockets(self, draw):
        """Open WebSockets and leave them; send invalid frames and incomplete handshakes."""
        key = draw.choice(["\r\n", "X: y\r\n\r\n", "Content-Length: 5\r\n\r\nhello"])
        frame = draw.randbytes(draw.randrange(1, 2000))
        self.sent(
            "WebSocket", self.ws, draw.choice(self.sources), (HANDSHAKE + key).encode(), frame, pause=0.2
        )

    def keep(self, way, draw, pause):
        """Repeat one attack."""
        while time.monotonic() < self.until:
            way(draw)
            time.sleep(pause)

    def all(self):
        """Run all attacks until the time is over; return the results."""
        ways = [
            (self.fuzz, 6, 0.02), (self.chunks, 3, 0.05), (self.slow_head, 40, 0.1), (self.slow_body, 60, 0.1),
            (self.burst, 6, 0.1), (self.sixes, 4, 0.01), (self.sockets, 10, 0.1),
        ]  # fmt: skip
        threads = [
            threading.Thread(
                target=self.keep, args=(way, random.Random(f"{self.seed} {way.__name__} {number}"), pause)
            )
            for way, count, pause in ways
            for number in range(count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self.seen


if __name__ == "__main__":
    print(json.dumps(Harm(*sys.argv[1:]).all()))
