"""The report of drills: JSON for programs, and one self-contained HTML file."""

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
    "lost": "lost: acknowledged, but missing",
    "recovered": "unknown, but stored",
    "duplicate": "stored twice",
    "nowhere": "stored, but never sent",
}
COUNTS = tuple(EXPLAINED)


def content(records, timing, versions):
    """
    Return the content of a report.

    records
        ``{fault: {"what", "number", "write_gap", "heals", "runs": [record, ...]}}``, as ``drill`` and ``violations`` return
        them. ``write_gap`` is the limit in seconds; ``heals`` is whether the drill itself reverts the fault.
    timing, versions
        The plan's timing and ``{package: version}``.
    """
    faults = {}
    for name, fault in records.items():
        runs = fault["runs"]
        faults[name] = {
            **fault,
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
    """Return ``{phase: {"n", "p50", "max"}}``: the number of runs with the phase, and its seconds from the fault."""
    found = {}
    for run in runs:
        for mark, seen in run["phases"].items():
            found.setdefault(mark, []).append(seen["after"])
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
    "removed",
    "noted",
)


def kept(data):
    """Return the part of a report that bench/results/ keeps: timing, versions, machine, and the figures of each run."""
    runs = {
        name: [{key: run[key] for key in KEPT} for run in fault["runs"]]
        for name, fault in data["faults"].items()
    }
    return {**{key: data[key] for key in ("timing", "versions", "machine")}, "runs": runs}


def write(folder, data, drawn):
    """
    Write ``report.json`` and ``report.html``.

    data
        The result of ``content``.
    drawn
        ``{fault: result of plots.draw}``.
    """
    (folder / "report.json").write_text(json.dumps(data, indent=2, default=str) + "\n")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["seconds"] = lambda value: f"{value:.2f}" if math.isfinite(value) else "never"
    template = environment.from_string((Path(__file__).parent / "report.html.jinja").read_text())
    faults = data["faults"].values()
    page = template.render(
        **data,
        drawn=drawn,
        keys=FIGURES,
        explained=EXPLAINED,
        names=phases.NAMES,
        all_runs=sum(len(fault["runs"]) for fault in faults),
        failed_runs=sum(fault["failed_runs"] for fault in faults),
        lost=sum(fault["counts"]["lost"] for fault in faults),
    )
    (folder / "report.html").write_text(page)


def timeline(lines, struck):
    """
    Return ``[(second from the fault, acknowledged writes per second), ...]`` of a run, one point for every BIN seconds.

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
    # Leave out the first bin, which is incomplete, and those at the end, when workers stop one after the other.
    end = math.floor((last - struck) / BIN)
    return [(round(bin * BIN, 2), counts.get(bin, 0) / BIN) for bin in range(min(counts) + 1, end)]
