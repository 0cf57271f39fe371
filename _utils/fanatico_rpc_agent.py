"""
What the agent of a chain node says, over the network that a lost host may still be on: with a time and a length.
"""

import json
import socket
import time

_ANSWER = 64 * 1024  # bytes of an agent's answer at most
_WHY = 300  # characters of its reason that are kept


def query(place, timeout):
    """
    Return ``{"ready": bool, "why": str, "head": int, "syncing": bool, "peers": int}`` as an agent says it.

    place
        ``(address, port)``.
    timeout
        Seconds, to connect, and for the answer as a whole.

    Raises ``OSError``, ``ValueError``, ``AttributeError`` or ``RecursionError`` where there is no answer of use.
    """
    line, _, own = _answer_of(place, timeout).partition("\n")
    said = json.loads(own or "null") or {}
    found = {name: _number(said.get(name)) for name in ("head", "peers")}
    syncing = said.get("syncing")
    word, _, why = line.strip().partition(" #")
    syncing = syncing if isinstance(syncing, bool) else None
    return {"ready": word.startswith("ready"), "why": why[:_WHY], "syncing": syncing, **found}


def _answer_of(place, timeout):
    """Return all that an agent sends until it closes; the host may be lost, so it has a time and a length."""
    text = b""
    with socket.create_connection(place, timeout) as connection:
        ends = time.monotonic() + timeout
        while piece := connection.recv(_ANSWER):
            text += piece
            if len(text) > _ANSWER:
                raise ValueError(f"more than {_ANSWER} bytes")
            connection.settimeout(max(ends - time.monotonic(), 0.001))
    return text.decode()


def _number(said):
    """Return a number that a node says of itself, None where it is none."""
    return said if type(said) is int and 0 <= said < 2**64 else None
