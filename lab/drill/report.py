"""What drills measured, for programs (JSON) and for people (one HTML file that needs nothing else)."""

import json
import math
import platform
import time
from pathlib import Path

import jinja2

import fanatico_measure as measure
from lab.drill import phases

BIN = 0.05  # seconds of a timeline's points
FIGURES = ("write_gap", "read_gap", "unavailable", "to_full_redundancy")
EXPLAINED = {
    "acknowledged": "acknowledged",
    "failed": "failed: never sent, or refused",
    "unknown": "unknown: sent, no answer",
    "lost": "lost: acknowledged and not there",
    "recovered": "unknown and there",
    "duplicate": "there twice",
    "nowhere": "there and never sent",
}
COUNTS = tuple(EXPLAINED)


def content(records, timing, versions):
    """
    Return all that a report says.

    records
        ``{fault: {"what", "number", "write_gap", "heals", "runs": [record, ...]}}``, as ``drill`` and ``complaints`` make
        them. ``write_gap`` is the longest one allowed, in seconds; ``heals`` is whether the drill itself ends the fault.
    timing, versions
        The plan's timing and ``{package: version}``.
    """
    faults = {}
    for name, one in records.items():
        runs = one["runs"]
        faults[name] = {
            **one,
            "figures": {key: measure.summary(runs, key) for key in FIGURES},
            "counts": {key: sum(run[key] for run in runs) for key in COUNTS},
            "two_writable": max(run["two_writable"] for run in runs),
            "phases": _phases(runs),
            "failovers": sum(run["failover"] for run in runs),
            "complaints": [f"{run['run']}: {text}" for run in runs for text in run["complaints"]],
            "never": sum(math.isinf(run["write_gap"]) for run in runs),
            "failed_runs": sum(bool(run["complaints"]) for run in runs),
        }
    return {
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "timing": timing,
        "versions": versions,
        "machine": platform.platform(),
        "faults": faults,
    }


def _phases(runs):
    """Return ``{mark: {"n", "p50", "max"}}``: seconds from the fault until something was said, in how many runs."""
    found = {}
    for run in runs:
        for mark, one in run["phases"].items():
            found.setdefault(mark, []).append(one["after"])
    return {
        mark: {"n": len(found[mark]), "p50": measure.percentile(found[mark], 0.5), "max": max(found[mark])}
        for mark in phases.MARKS
        if mark in found
    }


KEPT = (
    "write_gap",
    "read_gap",
    "unavailable",
    *COUNTS,
    "two_writable",
    "failover",
    "to_full_redundancy",
    "phases",
    "cures",
    "noted",
)


def kept(told):
    """Return what is worth keeping of a report for good: timing, versions, machine, and the figures of each run."""
    runs = {
        name: [{key: run[key] for key in KEPT} for run in one["runs"]] for name, one in told["faults"].items()
    }
    return {**{key: told[key] for key in ("timing", "versions", "machine")}, "runs": runs}


def write(folder, told, drawn):
    """
    Write ``report.json`` and ``report.html``.

    told
        What ``content`` returned.
    drawn
        ``{fault: what plots.draw returned}``.
    """
    (folder / "report.json").write_text(json.dumps(told, indent=2, default=str) + "\n")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["seconds"] = lambda value: f"{value:.2f}" if math.isfinite(value) else "never"
    template = environment.from_string((Path(__file__).parent / "report.html.jinja").read_text())
    faults = told["faults"].values()
    page = template.render(
        **told,
        drawn=drawn,
        keys=FIGURES,
        explained=EXPLAINED,
        names=phases.NAMES,
        all_runs=sum(len(one["runs"]) for one in faults),
        failed_runs=sum(one["failed_runs"] for one in faults),
        lost=sum(one["counts"]["lost"] for one in faults),
    )
    (folder / "report.html").write_text(page)


def timeline(lines, struck):
    """
    Return ``[(second from the fault, acknowledged writes per second), ...]`` of a run, a point for every BIN seconds.

    lines
        The client's attempts, as ``fanatico_client`` writes them.
    struck
        When the fault was injected, seconds of the monotonic clock.
    """
    counts, last = {}, -math.inf
    for line in lines:
        if line["kind"] == "write":
            last = max(last, line["due"])
            counts.setdefault(math.floor((line["due"] - struck) / BIN), 0)
            if line["outcome"] == "ok":
                bin = math.floor((line["done"] - struck) / BIN)
                counts[bin] = counts.get(bin, 0) + 1
    # The first bin is not whole, nor are those at the end, when workers stop one after the other.
    end = math.floor((last - struck) / BIN)
    return [(round(bin * BIN, 2), counts.get(bin, 0) / BIN) for bin in range(min(counts) + 1, end)]
