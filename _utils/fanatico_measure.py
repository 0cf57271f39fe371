"""Figures of a drill, calculated from the logs of the client and the probes. No I/O."""

import itertools
import math
import random
import statistics
from typing import Any

SEGMENT = 1.0  # seconds without an acknowledged write after which a node no longer counts as writable


def run(lines, probes, struck, held, rate):
    """
    Return the figures of one run.

    lines
        The client's attempts, as ``fanatico_client`` writes them.
    probes
        The probes' results, as ``probe.py`` prints them.
    struck
        The time of the fault injection, in seconds of the monotonic clock.
    held
        The rows ``(worker, seq)`` on the primary afterwards, a list: duplicates count.
    rate
        Planned writes per second.

    Times in seconds: ``write_gap``, ``read_gap`` (the longest time without a response that ends after the fault, less the
    interval between attempts), ``unavailable`` (the sum of all tenths of a second without an acknowledged write),
    ``two_writable`` (split-brain). Counts: ``acknowledged``, ``failed``, ``unknown``, ``lost`` (acknowledged but missing),
    ``recovered`` (unknown but present), ``duplicate``, ``nowhere`` (present but never sent).
    """
    writes = [line for line in lines if line["kind"] == "write"]
    acked = {(line["worker"], line["seq"]) for line in writes if line["outcome"] == "ok"}
    unknown = {(line["worker"], line["seq"]) for line in writes if line["outcome"] == "unknown"}
    there = set(held)
    return {
        "write_gap": gap(_done(writes), struck, 1 / rate),
        "read_gap": gap(_done(line for line in lines if line["kind"] == "read"), struck, 0.05),
        "unavailable": unavailable(_done(writes), [line["due"] for line in writes]),
        "two_writable": two_writable(probes),
        "acknowledged": len(acked),
        "failed": sum(line["outcome"] == "failed" for line in writes),
        "unknown": len(unknown),
        "lost": len(acked - there),
        "recovered": len(unknown & there),
        "duplicate": len(held) - len(there),
        "nowhere": len(there - acked - unknown),
    }


def _done(lines):
    return sorted(line["done"] for line in lines if line["outcome"] == "ok")


def gap(times, after, pace):
    """Return the longest gap in ``times`` that ends after ``after``, less ``pace``, in seconds; infinite if nothing followed."""
    if not times or times[-1] < after:
        return float("inf")
    gaps = [late - early for early, late in itertools.pairwise(times) if late > after]
    return max(0.0, max(gaps, default=0.0) - pace)


def unavailable(times, due):
    """Return the time in seconds, in tenths, in which writes were due and none was acknowledged."""
    wanted = {int(time * 10) for time in due}
    return len(wanted - {int(time * 10) for time in times}) / 10


def two_writable(probes):
    """
    Return the seconds in which two nodes accepted writes (split-brain).

    A node counts as writable from the first to the last write of each uninterrupted series.
    """
    spans: dict[Any, Any] = {}
    for probe in sorted(probes, key=lambda probe: probe["done"]):
        if not probe["writable"]:
            continue
        rows = spans.setdefault(probe["node"], [])
        if rows and probe["done"] - rows[-1][1] <= SEGMENT:
            rows[-1][1] = probe["done"]
        else:
            rows.append([probe["done"], probe["done"]])
    nodes = list(spans.values())
    return sum(
        max(0.0, min(first[1], second[1]) - max(first[0], second[0]))
        for index, rows in enumerate(nodes)
        for others in nodes[index + 1 :]
        for first in rows
        for second in others
    )


def percentile(values, share):
    """Return the percentile of ``values`` for ``share`` (0 to 1): the smallest value that this share does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def interval(values, share, rounds=2000, seed=1):
    """Return the 95 % confidence interval of a percentile, by bootstrap (percentile method; Efron 1979)."""
    draw = random.Random(seed)
    found = sorted(percentile(draw.choices(values, k=len(values)), share) for _ in range(rounds))
    return found[int(rounds * 0.025)], found[int(rounds * 0.975)]


def summary(runs, key):
    """Return ``{"n", "p50", "p95", "p99", "max", "p50_ci", "p99_ci", "mean"}`` of the figure ``key`` over ``runs``."""
    values = [run[key] for run in runs]
    return {
        "n": len(values),
        "mean": statistics.fmean(values),
        **{name: percentile(values, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))},
        "max": max(values),
        "p50_ci": interval(values, 0.5),
        "p99_ci": interval(values, 0.99),
    }
