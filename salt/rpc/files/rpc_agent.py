#!/usr/bin/env python3
"""Report to HAProxy (agent-check) whether this RPC node may take traffic: `ready` or `drain`, and the reason.

Usage: rpc_agent.py SETTINGS   (a JSON file, see `Settings` below; systemd passes the listening socket)

A node alone cannot detect that it is behind. So each agent polls its own node twice a second, and the agents of the other nodes
for their state. From the same heads, all agents reach the same conclusion. No agent queries the node of another host: a node
answers the balancers only. If every node looks bad, the best of them stay in rotation: slow answers are better than none.

Each client gets two lines: the line for HAProxy, and the state of this node as JSON, which HAProxy ignores.
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

EVERY, TIMEOUT = 0.5, 1.0  # seconds between two polls of a node, and for its answer
ANSWER = 64 * 1024  # maximum size of an answer, in bytes
STALE = 3.0  # seconds after which the state of a node is out of date
PASSED_FD = 3  # the first file descriptor that systemd passes


@dataclass(frozen=True)
class Settings:
    """own: this node's name. node: [address, port] of its JSON-RPC. agents: {name: [address, port]} of the other nodes' agents.

    block_time: seconds between two blocks. max_lag: blocks that a node may be behind the best. max_jump: a head that is more
    blocks above all others is not trusted. min_peers: peers that a node must have; 0: no check. drained: a file; while it exists,
    an operator has drained this node.
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
    Return ``(ready, reason)`` for one node.

    own
        The name of the node.
    seen
        ``{name: {"head", "syncing", "peers", "still": seconds since its head last moved}}`` of all nodes; None for a node that
        does not answer.
    settings
        ``Settings``.
    """
    if seen.get(own) is None:
        return False, "does not answer"
    heads = {name: state["head"] for name, state in seen.items() if state}
    outlier = _outlier(heads, settings.max_jump)
    best = _best(heads, settings.max_lag)
    highest = max(head for name, head in heads.items() if name != outlier)
    faults = {name: _fault(name, seen[name], (best, highest), outlier, settings) for name in heads}
    if not faults[own]:
        return True, f"block {heads[own]}"
    if not all(faults.values()):
        return False, faults[own]
    if heads[own] >= best:
        return True, f"{faults[own]}, but no other node is better"
    return False, faults[own]


def _outlier(heads, max_jump):
    """Return the name of a node whose head is far above all others, which agree; None if there is none."""
    if len(heads) < 3:
        return None  # of two nodes that differ, the node behind is more likely to be wrong
    (first, highest), (_, second), *_ = sorted(heads.items(), key=lambda item: -item[1])
    others = [head for name, head in heads.items() if name != first]
    return first if highest - second > max_jump and max(others) - min(others) <= max_jump else None


def _best(heads, max_lag):
    """
    Return the reference head: the highest head that a second node confirms, within ``max_lag``.

    A node may report a wrong head, and a few blocks too many would drain all other nodes. With one or two nodes no confirmation
    is possible: the reference is the highest head.
    """
    order = sorted(heads.values(), reverse=True)
    if len(order) < 3:
        return order[0]
    return next((head for head, after in itertools.pairwise(order) if head - after <= max_lag), order[1])


def _fault(name, state, bests, outlier, settings):
    best, highest = bests
    head = state["head"]
    if name == outlier:
        return f"block {head} is far above block {best} of all others"
    if state["syncing"]:
        return f"syncing, at block {head} of {best}"
    if best - head > settings.max_lag:
        return f"block {head} is {best - head} behind"
    # A node that only looks behind a false head still makes progress, so it is not stalled.
    if highest - head > 1 and state["still"] >= 2 * settings.block_time:
        return f"stalled at block {head} for {state['still']:.0f} s, {highest - head} behind"
    if settings.min_peers and (state["peers"] or 0) < settings.min_peers:
        return f"{state['peers'] or 0} peers, at least {settings.min_peers} are required"
    return ""


def quantity(text):
    """Return the number in a JSON-RPC quantity; raise ValueError or TypeError if it is not a quantity of at most 64 bits."""
    if not re.fullmatch(r"0x[0-9a-fA-F]{1,16}", text):
        raise ValueError("not a quantity")
    return int(text, 16)


class Polled:
    """An endpoint that is polled for the state of a node: ``{"head", "syncing", "peers"}``."""

    def __init__(self):
        self.polled_at, self.state, self.moved_at = 0.0, None, 0.0

    def ask(self):
        """Return the state of the node."""
        raise NotImplementedError

    def close(self):
        """Close the connection after a failed request."""

    def poll(self):
        """Request the state once, and store it."""
        try:
            state, self.polled_at = self.ask(), time.monotonic()
            if not self.state or state["head"] != self.state["head"]:
                self.moved_at = self.polled_at
            self.state = state
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
            self.state = None

    def watch(self):
        """Poll forever."""
        while True:
            started = time.monotonic()
            self.poll()
            time.sleep(max(0.0, started + EVERY - time.monotonic()))

    def now(self):
        """Return the last state, with ``still``; None if it is out of date."""
        state, now = self.state, time.monotonic()
        return {**state, "still": now - self.moved_at} if state and now - self.polled_at < STALE else None


class Node(Polled):
    """This node, over a persistent connection."""

    def __init__(self, address, port, peers):
        super().__init__()
        self.http = http.client.HTTPConnection(address, port, timeout=TIMEOUT)
        methods = ["eth_blockNumber", "eth_syncing", *(["net_peerCount"] if peers else [])]
        calls = [
            {"jsonrpc": "2.0", "id": n, "method": method, "params": []} for n, method in enumerate(methods)
        ]
        self.body = json.dumps(calls)

    def ask(self):
        """Request the state from the node itself."""
        self.http.request("POST", "/", self.body, {"Content-Type": "application/json"})
        text = self.http.getresponse().read(ANSWER + 1)
        if len(text) > ANSWER:
            raise ValueError(f"more than {ANSWER} bytes")
        return self.read(json.loads(text))

    def close(self):
        """Close the connection; the next request opens a new one."""
        self.http.close()

    @staticmethod
    def read(answers):
        """Return ``{"head", "syncing", "peers"}`` from the answers of a batch."""
        by_id = {answer["id"]: answer.get("result") for answer in answers}
        return {
            "head": quantity(by_id[0]),
            "syncing": bool(by_id[1]),
            "peers": quantity(by_id[2]) if by_id.get(2) else None,
        }


class Agent(Polled):
    """The agent of another node."""

    def __init__(self, address, port):
        super().__init__()
        self.place = (address, port)

    def ask(self):
        """Request the state from the agent. The timeout also applies to an agent that sends its answer slowly."""
        text, ends = b"", time.monotonic() + TIMEOUT
        with socket.create_connection(self.place, TIMEOUT) as connection:
            while len(text) <= ANSWER and (piece := connection.recv(ANSWER)):
                text += piece
                connection.settimeout(max(ends - time.monotonic(), 0.001))
        return self.read(text)

    @staticmethod
    def read(text):
        """Return ``{"head", "syncing", "peers"}`` from an agent's two lines; raise ValueError or TypeError if invalid."""
        _, second = text.decode().splitlines()
        answer = json.loads(second)
        state = {"head": answer["head"], "syncing": answer["syncing"], "peers": answer["peers"]}
        numbers = [state["head"], *([] if state["peers"] is None else [state["peers"]])]
        if (
            not all(type(number) is int and 0 <= number < 2**64 for number in numbers)
            or type(state["syncing"]) is not bool
        ):
            raise ValueError("not the state of a node")
        return state


def lines(settings, seen):
    """
    Return the two lines of the agent: the line for HAProxy, and the state of this node for the other agents.

    settings
        ``Settings``.
    seen
        As for ``verdict``.
    """
    ready, why = verdict(settings.own, seen, settings)
    if Path(settings.drained).exists():
        ready, why = False, f"drained by an operator ({why})"
    state = seen[settings.own]
    own = state and {name: state[name] for name in ("head", "syncing", "peers")}
    return f"{'ready' if ready else 'drain'} #{why}\n{json.dumps(own)}\n"


class Server(socketserver.ThreadingTCPServer):
    """Serves an existing listening socket."""

    daemon_threads = True

    def __init__(self, listener, handler):
        super().__init__(listener.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener


def main():
    """Poll the nodes, and answer on the socket that systemd has passed."""
    settings = Settings(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    endpoints = {settings.own: Node(*settings.node, settings.min_peers)}
    endpoints |= {name: Agent(*place) for name, place in settings.agents.items()}
    for endpoint in endpoints.values():
        endpoint.poll()
        threading.Thread(target=endpoint.watch, daemon=True).start()

    class Answer(socketserver.BaseRequestHandler):
        """Two lines for each connection."""

        def handle(self):
            seen = {name: endpoint.now() for name, endpoint in endpoints.items()}
            with contextlib.suppress(OSError):  # the client has disconnected
                self.request.sendall(lines(settings, seen).encode())

    with Server(socket.socket(fileno=PASSED_FD), Answer) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
