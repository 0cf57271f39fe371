#!/usr/bin/env python3
"""WebSocket filter proxy of an RPC node that has no WebSocket port, or no list of allowed methods for it.

Usage: rpc_ws.py SETTINGS   (a JSON file, see `Settings` below)

HAProxy cannot inspect a WebSocket, so this proxy refuses the methods that HAProxy refuses on the HTTP port. Each client
connection has its own connection to the node. Messages of a client are parsed and serialized again: no spelling means one thing
to this proxy and another to the node.
"""

import asyncio
import contextlib
import http
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, WebSocketException

CONNECT_TIMEOUT = 5  # seconds for the node to accept a connection
WINDOW = 10  # seconds that the rate limits apply to
LARGEST = 16 * 2**20  # maximum size of a message of the node in bytes; every client connection may hold one


@dataclass(frozen=True)
class Settings:
    """listen, node: [address, port]. allowed: prefixes of allowed methods. forbidden: prefixes that are refused anyway. heavy,
    write: prefixes of these classes; all other methods are reads. limits: {class: calls of one client in ten seconds, over all
    its connections}. batch_limit: calls in one message. body_limit: bytes of one message."""

    listen: list
    node: list
    allowed: list
    forbidden: list
    heavy: list
    write: list
    limits: dict
    batch_limit: int
    body_limit: int


class Allowance:
    """The remaining calls of one client for each class, refilled over time (a token bucket)."""

    def __init__(self, limits):
        self.limits, self.connections = limits, 0
        self._left, self._since = dict(limits), time.monotonic()

    def is_full(self):
        """Return whether it has been refilled completely since the last call."""
        return time.monotonic() - self._since > WINDOW

    def take(self, counts):
        """Take calls, ``{class: n}``, and return None; if one class has too few left, take nothing and return that class."""
        now = time.monotonic()
        for name, limit in self.limits.items():
            self._left[name] = min(limit, self._left[name] + (now - self._since) * limit / WINDOW)
        self._since = now
        for name, count in counts.items():
            if count > self._left[name]:
                return name
        for name, count in counts.items():
            self._left[name] -= count
        return None


def classified(method, settings):
    """Return the class of a method: that of the longest matching prefix, as HAProxy's map does on the HTTP port."""
    matches = [
        (len(prefix), name)
        for name in ("heavy", "write")
        for prefix in getattr(settings, name)
        if method.startswith(prefix)
    ]
    return max(matches)[1] if matches else "read"


def judge(message, settings, allowance):
    """
    Return ``(text for the node, None)``, or ``(None, answer)`` if the message must not reach the node.

    message
        The client's message: text or bytes.
    settings
        ``Settings``.
    allowance
        The client's ``Allowance``; the calls of the message are taken from it.
    """
    try:
        parsed = json.loads(message, object_pairs_hook=_Members)
        text = json.dumps(parsed, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        return None, json.dumps(_error(None, -32700, "invalid JSON"))
    calls = parsed if isinstance(parsed, list) else [parsed]
    if not 0 < len(calls) <= settings.batch_limit:
        return None, json.dumps(_error(None, -32600, f"a batch must have 1 to {settings.batch_limit} calls"))
    faults = [_refusal(call, settings) for call in calls]
    if not any(faults):
        classes = [classified(call["method"], settings) for call in calls]
        exceeded = allowance.take({name: classes.count(name) for name in set(classes)})
        if not exceeded:
            return text, None
        reason = f"too many {exceeded} calls: at most {settings.limits[exceeded]} in {WINDOW} s"
        faults = [(-32005, reason)] * len(calls)
    others = -32600, "not executed: another call of this batch is refused"
    answers = [_error(_id(call), *(fault or others)) for call, fault in zip(calls, faults, strict=True)]
    return None, json.dumps(answers if isinstance(parsed, list) else answers[0])


class _Members(dict):
    """A JSON object that records duplicate keys: some nodes use the first, others the last, or ignore case."""

    def __init__(self, pairs):
        super().__init__(pairs)
        self.has_duplicates = len({name.lower() for name, _ in pairs}) != len(pairs)


def _refusal(call, settings):
    """Return ``(code, message)`` if a call must not reach the node, or None."""
    if not isinstance(call, dict):
        return -32600, "a call must be an object"
    if call.has_duplicates:
        return -32600, "duplicate key"
    method = call.get("method")
    if not isinstance(method, str):
        return -32600, "missing method"
    if method.startswith(tuple(settings.forbidden)) or not method.startswith(tuple(settings.allowed)):
        return -32601, f"the method {method} is not available"
    return None


def _id(call):
    number = call.get("id") if isinstance(call, dict) else None
    return number if isinstance(number, (str, int)) else None


def _error(number, code, message):
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}


class Proxy:
    """The proxy between the clients and the node."""

    def __init__(self, settings):
        self.settings = settings
        self.node = "ws://{}:{}".format(*settings.node)
        self._allowances = {}

    @contextlib.contextmanager
    def allowance(self, client):
        """Yield the allowance of the client that HAProxy names. It survives a reconnect of the client."""
        self._allowances = {
            name: allowance
            for name, allowance in self._allowances.items()
            if allowance.connections or not allowance.is_full()
        }
        name = client.request.headers.get("X-Rpc-Client", str(client.remote_address[0]))
        allowance = self._allowances.setdefault(name, Allowance(self.settings.limits))
        allowance.connections += 1
        try:
            yield allowance
        finally:
            allowance.connections -= 1

    async def connect_node(self, client, request, response):
        """Connect to the node before the client's handshake is confirmed: HAProxy's health check relies on that."""
        if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
            return None
        try:
            client.node = await connect(
                self.node,
                compression=None,
                max_size=LARGEST,
                max_queue=1,
                open_timeout=CONNECT_TIMEOUT,
                proxy=None,
            )
        except (OSError, WebSocketException) as exc:
            return client.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, f"the node does not answer: {exc}\n")
        if (
            client.transport.is_closing()
        ):  # the client has disconnected, and `handle` will not run to close this
            await client.node.close()
        return None

    async def handle(self, client):
        """Forward messages in both directions until one side closes its connection."""
        async with client.node as node:
            with self.allowance(client) as allowance:
                await self._forward(client, node, allowance)

    async def _forward(self, client, node, allowance):
        tasks = [
            asyncio.ensure_future(self.to_node(client, node, allowance)),
            asyncio.ensure_future(self.to_client(client, node)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def to_node(self, client, node, allowance):
        """Forward allowed messages of the client to the node, and answer the others."""
        async for message in client:
            text, answer = judge(message, self.settings, allowance)
            await (node.send(text) if answer is None else client.send(answer))

    async def to_client(self, client, node):
        """Forward messages of the node to the client. When the node closes, close the client's connection."""
        with contextlib.suppress(ConnectionClosed):
            async for message in node:
                await client.send(message)
        await client.close(1012, "the node has closed the connection")


async def main():
    """Serve until terminated."""
    settings = Settings(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    proxy = Proxy(settings)
    options = {"process_response": proxy.connect_node, "compression": None, "max_size": settings.body_limit}
    async with serve(proxy.handle, *settings.listen, **options) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
