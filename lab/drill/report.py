"""What drills measured, for programs (JSON) and for people (one HTML file that needs nothing else)."""

import json
import math
import platform
from pathlib import Path

import jinja2

from _utils import fanatico_measure as measure
from lab.drill import phases

FIGURES = ("write_gap", "read_gap", "unavailable", "to_full_redundancy")
COUNTS = ("acknowledged", "failed", "unknown", "lost", "recovered", "duplicate", "nowhere")
WIDTH, HEIGHT = 560, 200


def content(records, timing, versions):
    """
    Return all that a report says.

    records
        ``{fault: {"what", "number", "write_gap", "runs": [record, ...]}}``, as ``drill`` and ``complaints`` make them.
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
        }
    return {"timing": timing, "versions": versions, "machine": platform.platform(), "faults": faults}


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


def write(folder, told, timelines):
    """Write ``report.json`` and ``report.html``; ``timelines`` is ``{run: what timeline returns}``."""
    (folder / "report.json").write_text(json.dumps(told, indent=2, default=str) + "\n")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((Path(__file__).parent / "report.html.jinja").read_text())
    drawn = {
        name: {
            "ecdf": steps([run["write_gap"] for run in one["runs"]]),
            "worst": bars(timelines[max(one["runs"], key=lambda run: run["write_gap"])["run"]]),
        }
        for name, one in told["faults"].items()
    }
    page = template.render(told=told, drawn=drawn, figures=FIGURES, width=WIDTH, height=HEIGHT)
    (folder / "report.html").write_text(page)


def steps(values):
    """Return an empirical distribution as an SVG path and the value at its right edge; what never ended is beyond it."""
    ended = [value for value in values if math.isfinite(value)]
    edge = max([0.001, *ended]) * 1.05
    path, height = f"M 0 {HEIGHT}", HEIGHT
    for count, value in enumerate(sorted(ended), 1):
        path += f" L {value / edge * WIDTH:.1f} {height:.1f}"
        height = HEIGHT - count / len(values) * HEIGHT
        path += f" L {value / edge * WIDTH:.1f} {height:.1f}"
    return {"path": f"{path} L {WIDTH} {height:.1f}", "edge": round(edge, 2)}


def bars(line):
    """Return a timeline as an SVG path, with where the fault stands and the seconds at both ends."""
    first, last = line[0][0], line[-1][0]
    highest = max(count for _, count in line) or 1
    scale = WIDTH / max(last - first, 0.1)
    points = [
        f"{(second - first) * scale:.1f} {HEIGHT - count / highest * HEIGHT:.1f}" for second, count in line
    ]
    return {
        "path": "M " + " L ".join(points),
        "struck": -first * scale,
        "from": round(first),
        "to": round(last),
        "highest": highest * 10,
    }


def timeline(lines, struck):
    """Return [(second from the fault, writes acknowledged)] for every tenth of a second of a run."""
    counts = {}
    for line in lines:
        if line["kind"] == "write":
            counts.setdefault(int((line["due"] - struck) * 10), 0)
            if line["outcome"] == "ok":
                tenth = int((line["done"] - struck) * 10)
                counts[tenth] = counts.get(tenth, 0) + 1
    return [(tenth / 10, counts.get(tenth, 0)) for tenth in range(min(counts), max(counts) + 1)]
