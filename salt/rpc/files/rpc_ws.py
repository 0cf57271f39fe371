#!/usr/bin/env python3
"""The WebSocket port of an RPC node that has none of its own, or no list of what may be asked there.

Usage: rpc_ws.py SETTINGS   (a JSON file, see `Settings` below)

HAProxy cannot look into a WebSocket, so what it refuses on the HTTP port has to be refused here. Each connection of a client is
led to the node over one of its own. What a client sends is read and written anew: no spelling means one thing here and another
to the node.
"""

import asyncio
import contextlib
import http
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, WebSocketException

PATIENCE = 5  # seconds for the node to take a connection


@dataclass(frozen=True)
class Settings:
    """listen, node: [address, port]. allowed, forbidden: how the names of methods begin that may be called, and of those the
    ones that may not. batch_limit: calls in one message. body_limit: bytes of one message."""

    listen: list
    node: list
    allowed: list
    forbidden: list
    batch_limit: int
    body_limit: int


def judge(message, settings):
    """
    Return ``(text for the node, None)``, or ``(None, answer)`` where the message is not to reach it.

    message
        What the client sent: text or bytes.
    settings
        ``Settings``.
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
        return text, None
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

    async def reach(self, client, request, response):
        """Connect to the node before the client is told that it is connected: HAProxy goes by that."""
        if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
            return None
        try:
            client.node = await connect(
                self.node, compression=None, max_size=None, open_timeout=PATIENCE, proxy=None
            )
        except (OSError, WebSocketException) as exc:
            return client.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, f"the node does not answer: {exc}\n")
        if client.transport.is_closing():  # who asked had no patience, and `lead` will not come to close this
            await client.node.close()
        return None

    async def lead(self, client):
        """Lead one client's messages to the node and the node's back, until one of them ends."""
        async with client.node as node:
            ways = [
                asyncio.ensure_future(self.there(client, node)),
                asyncio.ensure_future(self.back(client, node)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def there(self, client, node):
        """Lead what the client sends to the node, as far as it may."""
        async for message in client:
            text, answer = judge(message, self.settings)
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
