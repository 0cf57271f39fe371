"""Check the consistency of a history of appends and reads: could a single, reliable database have produced it? No I/O."""

import collections
import json
import zlib
from typing import Any

Appends = dict[int, dict[str, Any]]  # {number: the attempt to append it}


def crc(numbers: list[int]) -> int:
    """Return a checksum of a list."""
    return zlib.crc32(json.dumps(numbers).encode())


def check(lines: list[dict[str, Any]], final: dict[int, list[int]]) -> dict[str, int]:
    """
    Count what a history of appends and reads shows, and return the counts.

    Returns ``{"appended", "unknown", "read", "lost", "nowhere", "duplicate", "disorder", "torn", "stale"}``.

    lines
        The attempts, as ``append.py`` writes them.
    final
        ``{key: [number, ...]}``: the lists at the end.

    ``lost``: acknowledged, but missing. ``nowhere``: present, but never sent, or refused. ``duplicate``: present twice.
    ``disorder``: acknowledged before another number was sent, but behind it in the list. ``torn``: reads whose result never
    was a prefix of the list. ``stale``: reads that miss a number which was acknowledged before the read was sent. All but
    the first three must be 0.
    """
    appends = {line["id"]: line for line in lines if line["kind"] == "append"}
    reads = [line for line in lines if line["kind"] == "read" and line["outcome"] == "ok"]
    acked = {number for number, line in appends.items() if line["outcome"] == "ok"}
    maybe = {number for number, line in appends.items() if line["outcome"] == "unknown"}
    counts = collections.Counter((key, number) for key, numbers in final.items() for number in numbers)
    there = {number for key, number in counts if appends.get(number, {}).get("key") == key}
    return {
        "appended": len(acked),
        "unknown": len(maybe),
        "read": len(reads),
        "lost": len(acked - there),
        "nowhere": len(counts) - len(there & (acked | maybe)),
        "duplicate": sum(count - 1 for count in counts.values()),
        "disorder": sum(_disorder(numbers, appends) for numbers in final.values()),
        "torn": sum(not _is_beginning(line, final.get(line["key"], [])) for line in reads),
        "stale": sum(_is_stale(line, final.get(line["key"], []), appends) for line in reads),
    }


def _disorder(numbers: list[int], appends: Appends) -> int:
    """Count the elements that were acknowledged before an element in front of them was sent."""
    found, latest = 0, 0.0
    for number in numbers:
        line = appends.get(number)
        if not line:
            continue
        found += line["outcome"] == "ok" and line["done"] < latest
        latest = max(latest, line["sent"])
    return found


def _is_beginning(line: dict[str, Any], numbers: list[int]) -> bool:
    return line["length"] <= len(numbers) and line["crc"] == crc(numbers[: line["length"]])


def _is_stale(line: dict[str, Any], numbers: list[int], appends: Appends) -> bool:
    missed = (appends.get(number) for number in numbers[line["length"] :])
    return any(append and append["outcome"] == "ok" and append["done"] < line["sent"] for append in missed)
