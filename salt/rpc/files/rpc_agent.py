#!/usr/bin/env python3
"""Say whether this RPC node may take traffic: HAProxy asks (agent-check), and is told `ready` or `drain`, and why.

Usage: rpc_agent.py SETTINGS   (a JSON file, see `Settings` below)

No node can tell alone that it is behind. So the agent of each node looks at all of them, twice a second, and each comes to the
same conclusion about the same heads. Where every node looks bad, the least bad ones stay: slow answers are better than none.
"""

import http.client
import itertools
import json
import re
import socketserver
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

EVERY, TIMEOUT = 0.5, 1.0  # seconds between two looks at a node, and for its answer
ANSWER = 64 * 1024  # bytes of an answer at most
STALE = 3.0  # seconds after which what was heard of a node no longer counts


@dataclass(frozen=True)
class Settings:
    """own: this node's name. nodes: {name: [address, port]} of all. listen: [address, port] for HAProxy.

    block_time: seconds between two blocks. max_lag: blocks that a node may be behind the best. max_jump: blocks by which one
    head may be above all others before it is the one that is not believed. min_peers: peers a node must have; 0: not asked.
    drained: a file; while it is there, a person has taken this node out.
    """

    own: str
    nodes: dict
    listen: list
    drained: str
    block_time: float = 2.0
    max_lag: int = 3
    max_jump: int = 1000
    min_peers: int = 0


def verdict(own, seen, settings):
    """
    Return ``(ready, why)`` for one node.

    own
        Its name.
    seen
        ``{name: {"head", "syncing", "peers", "still": seconds since its head last moved}}`` of all nodes; None for one that
        does not answer.
    settings
        ``Settings``.
    """
    if seen.get(own) is None:
        return False, "does not answer"
    heads = {name: one["head"] for name, one in seen.items() if one}
    stray = _stray(heads, settings.max_jump)
    best = _best(heads, settings.max_lag)
    highest = max(head for name, head in heads.items() if name != stray)
    faults = {name: _fault(name, seen[name], (best, highest), stray, settings) for name in heads}
    if not faults[own]:
        return True, f"block {heads[own]}"
    if not all(faults.values()):
        return False, faults[own]
    if heads[own] >= best:
        return True, f"{faults[own]}, and no other is better"
    return False, faults[own]


def _stray(heads, max_jump):
    """Return the name whose head is far above all others, that agree among themselves; None where there is none."""
    if len(heads) < 3:
        return None  # of two that differ, the one behind is the likelier to be wrong
    (first, highest), (_, second), *_ = sorted(heads.items(), key=lambda item: -item[1])
    others = [head for name, head in heads.items() if name != first]
    return first if highest - second > max_jump and max(others) - min(others) <= max_jump else None


def _best(heads, max_lag):
    """
    Return the head that the others are measured by: the highest that a second node confirms, within ``max_lag``.

    What a node says of itself may be a lie, and three blocks too many would take all others out. Of one or two nodes nobody can
    confirm anything: there it is the highest.
    """
    order = sorted(heads.values(), reverse=True)
    if len(order) < 3:
        return order[0]
    return next((head for head, after in itertools.pairwise(order) if head - after <= max_lag), order[1])


def _fault(name, one, bests, stray, settings):
    best, highest = bests
    if name == stray:
        return f"its block {one['head']} is far above all others' {best}"
    if one["syncing"]:
        return f"is syncing, at block {one['head']} of {best}"
    if best - one["head"] > settings.max_lag:
        return f"block {one['head']} is {best - one['head']} behind"
    # Whom a liar would take out by a head of his own making does not stand still.
    if highest - one["head"] > 1 and one["still"] >= 2 * settings.block_time:
        return f"stands still at block {one['head']} for {one['still']:.0f} s, {highest - one['head']} behind"
    if settings.min_peers and (one["peers"] or 0) < settings.min_peers:
        return f"has {one['peers'] or 0} peers of at least {settings.min_peers}"
    return ""


def quantity(text):
    """Return the number in a quantity of JSON-RPC; ValueError or TypeError where it is none of at most 64 bits."""
    if not re.fullmatch(r"0x[0-9a-fA-F]{1,16}", text):
        raise ValueError("no quantity")
    return int(text, 16)


class Node:
    """One RPC node, asked again and again over a connection that is kept."""

    def __init__(self, address, port, peers):
        self.http = http.client.HTTPConnection(address, port, timeout=TIMEOUT)
        methods = ["eth_blockNumber", "eth_syncing", *(["net_peerCount"] if peers else [])]
        calls = [
            {"jsonrpc": "2.0", "id": n, "method": method, "params": []} for n, method in enumerate(methods)
        ]
        self.body = json.dumps(calls)
        self.heard, self.told, self.moved = 0.0, None, 0.0

    def look(self):
        """Ask once, and remember."""
        try:
            self.http.request("POST", "/", self.body, {"Content-Type": "application/json"})
            text = self.http.getresponse().read(ANSWER + 1)
            if len(text) > ANSWER:
                raise ValueError(f"more than {ANSWER} bytes")
            told, self.heard = self.read(json.loads(text)), time.monotonic()
            if not self.told or told["head"] != self.told["head"]:
                self.moved = self.heard
            self.told = told
        except (
            OSError,
            http.client.HTTPException,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
        ):
            self.http.close()
            self.told = None

    @staticmethod
    def read(answers):
        """Return ``{"head", "syncing", "peers"}`` of a batch's answers."""
        by_id = {answer["id"]: answer.get("result") for answer in answers}
        return {
            "head": quantity(by_id[0]),
            "syncing": bool(by_id[1]),
            "peers": quantity(by_id[2]) if by_id.get(2) else None,
        }

    def watch(self):
        """Look for ever."""
        while True:
            begun = time.monotonic()
            self.look()
            time.sleep(max(0.0, begun + EVERY - time.monotonic()))

    def now(self):
        """Return what is known, None where that is too old."""
        told, now = self.told, time.monotonic()
        return {**told, "still": now - self.moved} if told and now - self.heard < STALE else None


def main():
    """Watch all nodes, and answer HAProxy."""
    settings = Settings(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    nodes = {name: Node(*place, settings.min_peers) for name, place in settings.nodes.items()}
    for node in nodes.values():
        node.look()
        threading.Thread(target=node.watch, daemon=True).start()

    class Answer(socketserver.BaseRequestHandler):
        """One line for each connection."""

        def handle(self):
            ready, why = verdict(settings.own, {name: node.now() for name, node in nodes.items()}, settings)
            if Path(settings.drained).exists():
                ready, why = False, f"taken out by a person ({why})"
            self.request.sendall(f"{'ready' if ready else 'drain'} #{why}\n".encode())

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer(tuple(settings.listen), Answer) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
