"""An external client: a host in a lab's network that is not in the plan, and its requests to the balancers."""

import asyncio
import contextlib
import ctypes
import http.client
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from lab import network
from lab.drill.run import free_address

_CLONE_NEWNET = 0x40000000
HEAD = {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}


@dataclass
class Answer:
    """An HTTP answer: status, headers (lower case) and the unparsed body."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        """The parsed body, which must be JSON."""
        return json.loads(self.body)

    @property
    def error(self):
        """(HTTP status, id, code) of a JSON-RPC error."""
        return self.status, self.json["id"], self.json["error"]["code"]


class Outsider:
    """A host with one cable and any number of addresses. Its requests run in threads in its network namespace."""

    def __init__(self, lab, threads=16):
        self.lab, self.address = lab, free_address(lab.plan)
        self.virtual_ip, self.ports = lab.plan["virtual_ip"]["address"], lab.plan["ports"]
        network.detach(lab.name, "outsider")
        network.attach(lab.name, lab.plan, "outsider", self.address)
        self._space, self._others = network.namespace(lab.name, "outsider"), set()
        # A fixed MAC address, so that neighbor caches of earlier runs stay valid.
        network.batch(self._space, ["link set eth0 address 02:00:00:00:00:fe"])
        self._threads = ThreadPoolExecutor(
            threads, initializer=_enter, initargs=(f"/run/netns/{self._space}",)
        )

    def close(self):
        """Remove the host and its routes on the switch."""
        self._threads.shutdown(cancel_futures=True)
        network.batch(network.switch(self.lab.name), [f"route del {one}/32" for one in self._others])
        network.detach(self.lab.name, "outsider")

    def also(self, address):
        """Add any address to the host, with a route on the lab's switch."""
        network.batch(self._space, [f"addr add {address}/32 dev lo"])
        network.batch(network.switch(self.lab.name), [f"route replace {address}/32 via {self.address}"])
        self._others.add(address)

    def start(self, function, *arguments, **options):
        """Run a function in its network and return a Future."""
        return self._threads.submit(function, *arguments, **options)

    def run(self, function, *arguments, **options):
        """Run a function in its network and return what that returns."""
        return self.start(function, *arguments, **options).result()

    def post(
        self,
        body,
        to=None,
        port="rpc_http",
        method="POST",
        source=None,
        patience=20,
        tls=None,
        chunked=False,
        **headers,
    ):
        """Send one request, a text or bytes as they are and all else as JSON, and return the Answer.

        :param port: its name in the plan, or its number.
        :param tls: an ``ssl.SSLContext``.
        :param chunked: in pieces, without telling beforehand how long it is.
        """
        if not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        if chunked:
            whole = body.encode() if isinstance(body, str) else body
            body = [whole[start : start + 5000] for start in range(0, len(whole), 5000)]
        headers = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return self.run(
            *(_request, to or self.virtual_ip, self.ports.get(port, port), method, body, headers),
            *(source, patience, tls),
        )

    def call(self, method, *params, number=1, **options):
        """Call a JSON-RPC method and return the Answer."""
        return self.post(
            {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}, **options
        )

    def url(self, port="rpc_http", scheme="http"):
        """Return the (address, port) for a client."""
        return f"{scheme}://{self.virtual_ip}:{self.ports[port]}"

    @contextlib.contextmanager
    def asking(self, rate, sources, threads=8, size=0):
        """Ask for the head so many times a second, in so many bytes at least, each thread over a connection of its own; yields a
        list that has, once the block is left, a list for each: the heads in order, and as text what went wrong."""
        stop, found = threading.Event(), []
        ways = [
            self.start(
                *(_ask, self.virtual_ip, self.ports["rpc_http"], sources[n % len(sources)], threads / rate),
                *(json.dumps(HEAD).ljust(size), stop),
            )
            for n in range(threads)
        ]
        try:
            yield found
        finally:
            stop.set()
            for way in ways:
                found.append(way.result())

    @contextlib.contextmanager
    def listening(self, count, sources):
        """Hold so many WebSockets that hear of new heads; yields ``{"heads": [[numbers] for each], "cut": [why]}``, whole once
        the block is left."""
        stop, found = (
            threading.Event(),
            {"heads": [[] for _ in range(count)], "cut": [], "open": threading.Event()},
        )
        way = self.start(asyncio.run, _listen(self.url("rpc_ws", "ws"), sources, found, stop))
        try:
            for _ in range(300):
                if found["open"].wait(0.1) or way.done():
                    break
            else:
                raise TimeoutError(
                    f"{count} WebSockets were not open after 30 s; of those that were not: {found['cut'][:5]}"
                )
            yield found
        finally:
            stop.set()
            way.result()

    @contextlib.contextmanager
    def holding(self, data, sources, each, port="rpc_http"):
        """Open so many connections from each source, send some bytes over every one, and say no more; yields a function that
        counts those that the other side has not ended."""
        connections = self.run(_hold, self.virtual_ip, self.ports[port], data, sources, each)
        try:
            yield lambda: sum(map(_is_open, connections))
        finally:
            for connection in connections:
                connection.close()

    def raw(self, data, port="rpc_http", timeout=5):
        """Send bytes as they are and return all that comes back until the connection ends, or ``timeout`` seconds are over."""
        return self.run(_raw, self.virtual_ip, self.ports[port], data, timeout)


@contextlib.contextmanager
def outsider(lab):
    """Yield an Outsider and remove it afterwards."""
    made = Outsider(lab)
    try:
        yield made
    finally:
        made.close()


def _enter(path):
    """Move this thread into a network namespace. (os.setns came with Python 3.12.)"""
    handle = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(handle)


def _request(address, port, method, body, headers, source, patience, tls=None):
    place = (source, 0) if source else None
    options = {"timeout": patience, "source_address": place}
    if tls:
        connection = http.client.HTTPSConnection(address, port, context=tls, **options)
    else:
        connection = http.client.HTTPConnection(address, port, **options)
    try:
        connection.request(method, "/", iter(body) if isinstance(body, list) else body, headers)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())
    finally:
        connection.close()


def _hold(address, port, data, sources, each):
    found = []
    for source in sources * each:
        with contextlib.suppress(TimeoutError, ConnectionError):
            found.append(socket.create_connection((address, port), 2, source_address=(source, 0)))
            found[-1].sendall(data)
    return found


def _is_open(connection):
    """Return whether the server has neither sent anything nor closed the connection."""
    connection.setblocking(False)
    try:
        connection.recv(1)
    except BlockingIOError:
        return True
    except ConnectionError:
        pass
    return False


def _raw(address, port, data, timeout):
    with socket.create_connection((address, port), timeout) as connection:
        connection.sendall(data)
        found = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while piece := connection.recv(65536):
                found += piece
        return found


def _ask(address, port, source, every, body, stop):
    """Send requests on schedule until stopped; return the heads, and errors as text."""
    headers = {"Content-Type": "application/json"}
    connection = http.client.HTTPConnection(address, port, timeout=20, source_address=(source, 0))
    found, due = [], time.monotonic()
    while not stop.is_set():
        due += every
        stop.wait(max(0, due - time.monotonic()))
        try:
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            text = answer.read()
            found.append(
                int(json.loads(text)["result"], 16) if answer.status == 200 else f"{answer.status} {text}"
            )
        except (OSError, http.client.HTTPException, ValueError, LookupError) as exc:
            connection.close()
            found.append(repr(exc))
    connection.close()
    return found


async def _listen(url, sources, found, stop):
    count, opened = len(found["heads"]), 0

    async def one(number):
        nonlocal opened
        place = (sources[number % len(sources)], 0)
        async with connect(url, local_addr=place, proxy=None, open_timeout=20, close_timeout=1) as connection:
            await connection.send(json.dumps({**HEAD, "method": "eth_subscribe", "params": ["newHeads"]}))
            await asyncio.wait_for(connection.recv(), 20)
            opened += 1
            if opened == count:
                found["open"].set()
            try:
                async for message in connection:
                    found["heads"][number].append(int(json.loads(message)["params"]["result"]["number"], 16))
            except ConnectionClosed:
                pass
            if not stop.is_set():
                found["cut"].append(f"{connection.close_code} {connection.close_reason}")

    ways = [asyncio.ensure_future(one(number)) for number in range(count)]
    while not stop.is_set():
        await asyncio.sleep(0.2)
    for way in ways:
        way.cancel()
    for outcome in await asyncio.gather(*ways, return_exceptions=True):
        if isinstance(outcome, Exception):
            found["cut"].append(repr(outcome))
