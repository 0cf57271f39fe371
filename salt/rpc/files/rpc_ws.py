#!/usr/bin/env python3
"""The WebSocket port of an RPC node that has none of its own, or no list of what may be asked there.

Usage: rpc_ws.py SETTINGS   (a JSON file, see `Settings` below)

HAProxy cannot look into a WebSocket, so what it refuses on the HTTP port has to be refused here. Each connection of a client is
led to the node over one of its own. What a client sends is read and written again: no spelling means one thing here and another
to the node.
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

PATIENCE = 5  # seconds for the node to take a connection
WINDOW = 10  # seconds that `limits` are meant for
LARGEST = 16 * 2**20  # bytes of one message of the node: every connection of a client may have to hold it


@dataclass(frozen=True)
class Settings:
    """listen, node: [address, port]. allowed, forbidden: how the names of methods begin that may be called, and of those the
    ones that may not. heavy, write: those of these classes, all others are reads. limits: {class: calls of one client in ten
    seconds, in all its connections}. batch_limit: calls in one message. body_limit: bytes of one message."""

    listen: list
    node: list
    allowed: list
    forbidden: list
    heavy: list
    write: list
    limits: dict
    batch_limit: int
    body_limit: int


class Share:
    """What one client may still ask for: calls of each class, that come back as time goes by."""

    def __init__(self, limits):
        self.limits, self.connections = limits, 0
        self._left, self._since = dict(limits), time.monotonic()

    def whole(self):
        """Tell whether all of it has come back since it was last taken from."""
        return time.monotonic() - self._since > WINDOW

    def take(self, counts):
        """Take so many calls, ``{class: n}``; return the class there are too few left of, none taken then, or None."""
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
    """Return the class of a method: that of the longest beginning that fits, as HAProxy's map on the HTTP port says it."""
    fits = [
        (len(one), name)
        for name in ("heavy", "write")
        for one in getattr(settings, name)
        if method.startswith(one)
    ]
    return max(fits)[1] if fits else "read"


def judge(message, settings, share):
    """
    Return ``(text for the node, None)``, or ``(None, answer)`` where the message is not to reach it.

    message
        What the client sent: text or bytes.
    settings
        ``Settings``.
    share
        The client's ``Share``, which this takes from.
    """
    try:
        said = json.loads(message, object_pairs_hook=_Members)
        text = json.dumps(said, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        return None, json.dumps(_fault(None, -32700, "this is no JSON"))
    calls = said if isinstance(said, list) else [said]
    if not 0 < len(calls) <= settings.batch_limit:
        return None, json.dumps(_fault(None, -32600, f"a batch has 1 to {settings.batch_limit} calls"))
    faults = [_wrong(call, settings) for call in calls]
    if not any(faults):
        asked = [classified(call["method"], settings) for call in calls]
        short = share.take({name: asked.count(name) for name in set(asked)})
        if not short:
            return text, None
        told = f"too many {short} calls: at most {settings.limits[short]} in {WINDOW} s"
        faults = [(-32005, told)] * len(calls)
    others = -32600, "not carried out: another call of this batch is refused"
    answers = [_fault(_id(call), *(fault or others)) for call, fault in zip(calls, faults, strict=True)]
    return None, json.dumps(answers if isinstance(said, list) else answers[0])


class _Members(dict):
    """An object, and whether a member is there twice: nodes take the first of two or the last, or do not tell case."""

    def __init__(self, pairs):
        super().__init__(pairs)
        self.twice = len({name.lower() for name, _ in pairs}) != len(pairs)


def _wrong(call, settings):
    if not isinstance(call, dict):
        return -32600, "a call is an object"
    if call.twice:
        return -32600, "a key is there twice"
    method = call.get("method")
    if not isinstance(method, str):
        return -32600, "no method is named"
    if method.startswith(tuple(settings.forbidden)) or not method.startswith(tuple(settings.allowed)):
        return -32601, f"the method {method} is not available"
    return None


def _id(call):
    number = call.get("id") if isinstance(call, dict) else None
    return number if isinstance(number, (str, int)) else None


def _fault(number, code, message):
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}


class Door:
    """What stands between the clients and the node."""

    def __init__(self, settings):
        self.settings = settings
        self.node = "ws://{}:{}".format(*settings.node)
        self._shares = {}

    @contextlib.contextmanager
    def share(self, client):
        """Yield the share of whom HAProxy names as the client: who comes back at once finds what is left of it."""
        self._shares = {name: one for name, one in self._shares.items() if one.connections or not one.whole()}
        name = client.request.headers.get("X-Rpc-Client", str(client.remote_address[0]))
        share = self._shares.setdefault(name, Share(self.settings.limits))
        share.connections += 1
        try:
            yield share
        finally:
            share.connections -= 1

    async def reach(self, client, request, response):
        """Connect to the node before the client is told that it is connected: HAProxy goes by that."""
        if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
            return None
        try:
            client.node = await connect(
                self.node, compression=None, max_size=LARGEST, max_queue=1, open_timeout=PATIENCE, proxy=None
            )
        except (OSError, WebSocketException) as exc:
            return client.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, f"the node does not answer: {exc}\n")
        if client.transport.is_closing():  # who asked had no patience, and `lead` will not come to close this
            await client.node.close()
        return None

    async def lead(self, client):
        """Lead one client's messages to the node and the node's back, until one of them ends."""
        async with client.node as node:
            with self.share(client) as share:
                await self._both_ways(client, node, share)

    async def _both_ways(self, client, node, share):
        ways = [
            asyncio.ensure_future(self.there(client, node, share)),
            asyncio.ensure_future(self.back(client, node)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)

    async def there(self, client, node, share):
        """Lead what the client sends to the node, as far as it may."""
        async for message in client:
            text, answer = judge(message, self.settings, share)
            await (node.send(text) if answer is None else client.send(answer))

    async def back(self, client, node):
        """Lead what the node sends to the client; where the node goes, the client is told."""
        with contextlib.suppress(ConnectionClosed):
            async for message in node:
                await client.send(message)
        await client.close(1012, "the node is gone")


async def main():
    """Serve for ever."""
    settings = Settings(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    door = Door(settings)
    options = {"process_response": door.reach, "compression": None, "max_size": settings.body_limit}
    async with serve(door.lead, *settings.listen, **options) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
