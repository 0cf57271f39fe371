"""An attacker that floods the edge: `python -m bench.flood ADDRESS PORT SECONDS SOURCE ...`, run in its network namespace.

Each source has connections that send requests which are expensive for the edge and cheap for the sender (large batches, as fast
as they are answered), and others that stop in the middle of a body. The number of connections and the duration are limited.
Prints ``{"answered": requests, "broken": closed connections, "held": connections that sent half a body}``.
"""

import json
import socket
import sys
import threading
import time

BUSY, HELD = 2, 12  # connections of each source
BATCH = [{"jsonrpc": "2.0", "id": n, "method": "eth_chainId", "params": [[[n] * 20] * 20]} for n in range(20)]
BODY = json.dumps(BATCH, separators=(",", ":")).encode()
HEAD = "POST / HTTP/1.1\r\nHost: rpc\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
WHOLE = HEAD.format(len(BODY)).encode() + BODY
HALF = HEAD.format(110_000).encode() + b" " * 100_000


def busy(place, source, until, seen):
    """Send the expensive request repeatedly."""
    while time.monotonic() < until:
        try:
            with socket.create_connection(place, 5, source_address=(source, 0)) as connection:
                connection.settimeout(20)
                while time.monotonic() < until:
                    connection.sendall(WHOLE)
                    if not connection.recv(65536):
                        raise ConnectionError
                    seen["answered"] += 1
        except OSError:
            seen["broken"] += 1
            time.sleep(0.02)


def held(place, source, until, seen):
    """Keep HELD connections open with half a body each; replace those that were closed."""
    connections: list[socket.socket] = []
    while time.monotonic() < until:
        while len(connections) < HELD and time.monotonic() < until:
            try:
                connection = socket.create_connection(place, 2, source_address=(source, 0))
                connection.settimeout(1)
                connection.sendall(HALF)
            except OSError:
                break
            connections.append(connection)
            seen["held"] += 1
        time.sleep(0.5)
        connections = [connection for connection in connections if _open(connection)]
    for connection in connections:
        connection.close()


def _open(connection):
    """Return whether the server has neither answered nor closed a connection; close it otherwise."""
    connection.setblocking(False)
    try:
        connection.recv(1)
    except BlockingIOError:
        return True
    except OSError:
        pass
    connection.close()
    return False


def main():
    """Run all connections and print the counts."""
    address, port, seconds, *sources = sys.argv[1:]
    place, until = (address, int(port)), time.monotonic() + float(seconds)
    seen = {"answered": 0, "broken": 0, "held": 0}
    threads = [
        threading.Thread(target=work, args=(place, source, until, seen))
        for source in sources
        for work in [busy] * BUSY + [held]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
