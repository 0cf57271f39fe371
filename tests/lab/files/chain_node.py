#!/usr/bin/env python3
"""A minimal blockchain node for tests: JSON-RPC over HTTP on one port and over WebSocket on another.

    chain_node.py --address 10.0.1.10 --http 8545 --ws 8546 --chain-id 4242 --period 2

Its blocks are computed from the clock, so any number of such nodes form one chain without peers.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import struct
import time

GENESIS = 1_700_000_000  # seconds since 1970
WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Chain:
    """The chain at the present time."""

    def __init__(self, chain_id, period):
        self.chain_id, self.period = chain_id, period

    def head(self):
        return int((time.time() - GENESIS) // self.period)

    def block(self, number):
        def name(one):
            return "0x" + hashlib.sha256(f"{self.chain_id}/{one}".encode()).hexdigest()

        stamp = hex(int(GENESIS + number * self.period))
        return {
            "number": hex(number),
            "hash": name(number),
            "parentHash": name(number - 1),
            "timestamp": stamp,
        }

    def answer(self, call):
        methods = {
            "eth_chainId": lambda: hex(self.chain_id),
            "eth_blockNumber": lambda: hex(self.head()),
            "eth_getBlockByNumber": lambda: self.block(self.head()),
            "eth_syncing": lambda: False,
            "net_peerCount": lambda: "0x2",
            "eth_subscribe": lambda: "0x1",
        }
        method = call.get("method")
        found = (
            {"result": methods[method]()}
            if method in methods
            else {"error": {"code": -32601, "message": f"the method {method} does not exist"}}
        )
        return {"jsonrpc": "2.0", "id": call.get("id"), **found}

    def answers(self, text):
        asked = json.loads(text)
        return [self.answer(one) for one in asked] if isinstance(asked, list) else self.answer(asked)


async def headers(reader):
    """Return (first line, {name: value}) of a request; raises IncompleteReadError at the connection's end."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    return lines[0], {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
    }


async def http(chain, reader, writer):
    """Serve JSON-RPC on one connection, request after request."""
    while True:
        _, fields = await headers(reader)
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        said = json.dumps(chain.answers(body)).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(said)}\r\n\r\n"
        writer.write(head.encode() + said)
        await writer.drain()


async def websocket(chain, reader, writer):
    """Serve JSON-RPC and newHeads on one WebSocket."""
    _, fields = await headers(reader)
    proof = base64.b64encode(hashlib.sha1(fields["sec-websocket-key"].encode() + WEBSOCKET).digest()).decode()
    writer.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {proof}\r\n\r\n".encode()
    )
    heads = None
    try:
        while True:
            kind, data = await frame(reader)
            if kind == CLOSE:
                return
            if kind == PING:
                send(writer, PONG, data)
            if kind == TEXT:
                send(writer, TEXT, json.dumps(chain.answers(data)).encode())
                if b"eth_subscribe" in data and heads is None:
                    heads = asyncio.create_task(new_heads(chain, writer))
            await writer.drain()
    finally:
        if heads:
            heads.cancel()


async def frame(reader):
    """Return (kind, data) of the next frame."""
    first, second = await reader.readexactly(2)
    size = second & 127
    if size == 126:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", await reader.readexactly(8))
    mask = await reader.readexactly(4) if second & 128 else bytes(4)
    data = await reader.readexactly(size)
    return first & 15, bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))


def send(writer, kind, data):
    size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + struct.pack("!H", len(data))
    writer.write(bytes([128 | kind]) + size + data)


async def new_heads(chain, writer):
    """Tell a subscriber of each block as it comes."""
    last = chain.head()
    while True:
        await asyncio.sleep(0.1)
        if chain.head() != last:
            last = chain.head()
            event = {"subscription": "0x1", "result": chain.block(last)}
            notification = {"jsonrpc": "2.0", "method": "eth_subscription", "params": event}
            send(writer, TEXT, json.dumps(notification).encode())
            await writer.drain()


def serving(serve, chain):
    """Return asyncio's handler for connections."""

    async def connection(reader, writer):
        try:
            await serve(chain, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError, LookupError):
            pass  # the client has disconnected, or uses another protocol
        finally:
            writer.close()

    return connection


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", required=True)
    for name in ("--http", "--ws", "--chain-id"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--period", type=float, required=True)
    options = parser.parse_args()
    chain = Chain(options.chain_id, options.period)
    for serve, port in ((http, options.http), (websocket, options.ws)):
        await asyncio.start_server(serving(serve, chain), options.address, port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
