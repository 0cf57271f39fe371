"""Is a history of appends and reads one that a single, reliable database could have given? No I/O."""

import collections
import json
import zlib
from typing import Any

Appends = dict[int, dict[str, Any]]  # by number: the attempts to append it


def crc(numbers: list[int]) -> int:
    """Return a checksum of a list."""
    return zlib.crc32(json.dumps(numbers).encode())


def check(lines: list[dict[str, Any]], final: dict[int, list[int]]) -> dict[str, int]:
    """
    Return ``{"appended", "unknown", "lost", "nowhere", "duplicate", "disorder", "torn", "stale", "read"}``, counts.

    lines
        The attempts, as ``append.py`` writes them.
    final
        ``{key: [number, ...]}``: the lists as they are afterwards.

    ``lost``: acknowledged and not there. ``nowhere``: there and never sent, or refused. ``duplicate``: there twice.
    ``disorder``: one that was acknowledged before another was sent stands behind it. ``torn``: reads of what never was the
    beginning of the list. ``stale``: reads without what had been acknowledged before they were sent. All but the first two
    must be 0.
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
    """Count the elements that were acknowledged before one that stands in front of them was sent."""
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
    return any(one and one["outcome"] == "ok" and one["done"] < line["sent"] for one in missed)
