"""
Query the agent of a chain node. The host may be compromised, so time and length of the response are limited.
"""

import json
import socket
import time

_ANSWER = 64 * 1024  # maximum bytes of a response
_WHY = 300  # maximum characters of its reason


def query(place, timeout):
    """
    Return the status that an agent reports, ``{"ready": bool, "why": str, "head": int, "syncing": bool, "peers": int}``.

    ``head``, ``syncing`` and ``peers`` are None if they are missing or invalid.

    place
        ``(address, port)``.
    timeout
        Seconds to connect, and again for the whole response.

    Raises ``OSError``, ``ValueError``, ``AttributeError`` or ``RecursionError`` if there is no usable response.
    """
    line, _, own = _answer_of(place, timeout).partition("\n")
    status = json.loads(own or "null") or {}
    found = {name: _number(status.get(name)) for name in ("head", "peers")}
    syncing = status.get("syncing")
    word, _, why = line.strip().partition(" #")
    syncing = syncing if isinstance(syncing, bool) else None
    return {"ready": word.startswith("ready"), "why": why[:_WHY], "syncing": syncing, **found}


def _answer_of(place, timeout):
    """Return the text that an agent sends until it closes the connection, within the limits."""
    text = b""
    with socket.create_connection(place, timeout) as connection:
        ends = time.monotonic() + timeout
        while piece := connection.recv(_ANSWER):
            text += piece
            if len(text) > _ANSWER:
                raise ValueError(f"the response is longer than {_ANSWER} bytes")
            connection.settimeout(max(ends - time.monotonic(), 0.001))
    return text.decode()


def _number(value):
    """Return a number that a node reports; None if it is not a valid number."""
    return value if type(value) is int and 0 <= value < 2**64 else None
