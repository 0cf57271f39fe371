"""Shared by the benchmarks: a deployed and healthy lab, raw numbers in bench/results/, a table with targets."""

import contextlib
import datetime
import json
from pathlib import Path

from lab import health, preflight, report
from lab.machines import Lab

REPO = Path(__file__).parent.parent


@contextlib.contextmanager
def deployed(name):
    """Lock a deployed and healthy lab; yields it, and waits at the end until it is healthy again.

    :raises LabError: when it is not deployed, in use or not healthy.
    """
    preflight.check_root()
    lab = Lab(name)
    with lab.locked():
        lab.require_deployed()
        health.wait(lab)
        yield lab
        health.wait(lab)


def keep(name, raw):
    """Write raw numbers to bench/results/NAME-TIME.json and print the path."""
    path = REPO / f"bench/results/{name}-{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(raw, indent=1) + "\n")
    print(f"raw numbers: {path.relative_to(REPO)}")


def show(checks):
    """
    Print a table of results and return the exit code: 1 if a target is missed.

    checks
        ``[(what, measured, target, whether it holds)]``.
    """
    rows = [(what, found, target + ("" if holds else ": missed")) for what, found, target, holds in checks]
    print("\n".join(report.table(rows, ["what", "measured", "target"])))
    return 0 if all(holds for *_, holds in checks) else 1
