#!/usr/bin/env python3
"""Say whether this RPC node may take traffic: HAProxy asks (agent-check), and is told `ready` or `drain`, and why.

Usage: rpc_agent.py SETTINGS   (a JSON file, see `Settings` below; the port is a socket that systemd hands over)

No node can tell alone that it is behind. So each agent asks its own node, twice a second, and the agents of the others what
theirs say; each comes to the same conclusion about the same heads. No node is asked by another one: what it answers is the
balancers' alone. Where every node looks bad, the least bad ones stay: slow answers are better than none.

Who connects is given two lines: HAProxy's, and what this node says of itself as JSON, which HAProxy does not read.
"""

import contextlib
import http.client
import itertools
import json
import re
import socket
import socketserver
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

EVERY, TIMEOUT = 0.5, 1.0  # seconds between two looks at a node, and for its answer
ANSWER = 64 * 1024  # bytes of an answer at most
STALE = 3.0  # seconds after which what was heard of a node no longer counts
HANDED = 3  # the first descriptor that systemd hands over


@dataclass(frozen=True)
class Settings:
    """own: this node's name. node: [address, port] of its JSON-RPC. agents: {name: [address, port]} of the other nodes' agents.

    block_time: seconds between two blocks. max_lag: blocks that a node may be behind the best. max_jump: blocks by which one
    head may be above all others before it is the one that is not believed. min_peers: peers a node must have; 0: not asked.
    drained: a file; while it is there, a person has taken this node out.
    """

    own: str
    node: list
    agents: dict
    drained: str
    block_time: float
    max_lag: int
    max_jump: int
    min_peers: int


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


class Watched:
    """Somebody who is asked again and again what a node says of itself. ``ask`` returns ``{"head", "syncing", "peers"}``."""

    def __init__(self):
        self.heard, self.told, self.moved = 0.0, None, 0.0

    def ask(self):
        """Ask once."""
        raise NotImplementedError

    def close(self):
        """End what is left of a question that failed."""

    def look(self):
        """Ask once, and remember."""
        try:
            told, self.heard = self.ask(), time.monotonic()
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
            self.close()
            self.told = None

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


class Node(Watched):
    """This node, over a connection that is kept."""

    def __init__(self, address, port, peers):
        super().__init__()
        self.http = http.client.HTTPConnection(address, port, timeout=TIMEOUT)
        methods = ["eth_blockNumber", "eth_syncing", *(["net_peerCount"] if peers else [])]
        calls = [
            {"jsonrpc": "2.0", "id": n, "method": method, "params": []} for n, method in enumerate(methods)
        ]
        self.body = json.dumps(calls)

    def ask(self):
        """Ask the node itself."""
        self.http.request("POST", "/", self.body, {"Content-Type": "application/json"})
        text = self.http.getresponse().read(ANSWER + 1)
        if len(text) > ANSWER:
            raise ValueError(f"more than {ANSWER} bytes")
        return self.read(json.loads(text))

    def close(self):
        """Begin with another connection."""
        self.http.close()

    @staticmethod
    def read(answers):
        """Return ``{"head", "syncing", "peers"}`` of a batch's answers."""
        by_id = {answer["id"]: answer.get("result") for answer in answers}
        return {
            "head": quantity(by_id[0]),
            "syncing": bool(by_id[1]),
            "peers": quantity(by_id[2]) if by_id.get(2) else None,
        }


class Agent(Watched):
    """The agent of another node."""

    def __init__(self, address, port):
        super().__init__()
        self.place = (address, port)

    def ask(self):
        """Ask the agent what its node says; one that drips has no longer than one that is silent."""
        text, ends = b"", time.monotonic() + TIMEOUT
        with socket.create_connection(self.place, TIMEOUT) as connection:
            while len(text) <= ANSWER and (piece := connection.recv(ANSWER)):
                text += piece
                connection.settimeout(max(ends - time.monotonic(), 0.001))
        return self.read(text)

    @staticmethod
    def read(text):
        """Return ``{"head", "syncing", "peers"}`` of an agent's two lines, ValueError or TypeError where it does not say so."""
        _, second = text.decode().splitlines()
        said = json.loads(second)
        found = {"head": said["head"], "syncing": said["syncing"], "peers": said["peers"]}
        numbers = [found["head"], *([] if found["peers"] is None else [found["peers"]])]
        if (
            not all(type(one) is int and 0 <= one < 2**64 for one in numbers)
            or type(found["syncing"]) is not bool
        ):
            raise ValueError("no state of a node")
        return found


def lines(settings, seen):
    """
    Return what the agent says, two lines: HAProxy's, and for the other agents what this node says of itself.

    settings
        ``Settings``.
    seen
        As for ``verdict``.
    """
    ready, why = verdict(settings.own, seen, settings)
    if Path(settings.drained).exists():
        ready, why = False, f"taken out by a person ({why})"
    said = seen[settings.own]
    own = said and {name: said[name] for name in ("head", "syncing", "peers")}
    return f"{'ready' if ready else 'drain'} #{why}\n{json.dumps(own)}\n"


class Server(socketserver.ThreadingTCPServer):
    """Answers at a socket that is there already."""

    daemon_threads = True

    def __init__(self, listener, handler):
        super().__init__(listener.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener


def main():
    """Watch the nodes, and answer whoever connects to the socket that systemd has handed over."""
    settings = Settings(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    watched = {settings.own: Node(*settings.node, settings.min_peers)}
    watched |= {name: Agent(*place) for name, place in settings.agents.items()}
    for one in watched.values():
        one.look()
        threading.Thread(target=one.watch, daemon=True).start()

    class Answer(socketserver.BaseRequestHandler):
        """Two lines for each connection."""

        def handle(self):
            seen = {name: one.now() for name, one in watched.items()}
            with contextlib.suppress(OSError):  # who asked is gone
                self.request.sendall(lines(settings, seen).encode())

    with Server(socket.socket(fileno=HANDED), Answer) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
