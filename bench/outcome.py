"""What the benches have in common: a lab that is deployed and well, raw numbers that are kept, a table with its targets."""

import contextlib
import datetime
import json
from pathlib import Path

from lab import health, preflight, report
from lab.machines import Lab

REPO = Path(__file__).parent.parent


@contextlib.contextmanager
def deployed(name):
    """A lab that is deployed and healthy, for this bench alone; yields it, and waits until it is healthy again."""
    preflight.check_root()
    lab = Lab(name)
    with lab.locked():
        lab.require_deployed()
        health.wait(lab)
        yield lab
        health.wait(lab)


def keep(name, raw):
    """Write raw numbers to bench/results/ under a bench's name and the time, and say where they are."""
    path = REPO / f"bench/results/{name}-{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(raw, indent=1) + "\n")
    print(f"raw numbers: {path.relative_to(REPO)}")


def show(checks):
    """
    Print a table of what was measured, and return the exit code: 1 where a target is missed.

    checks
        ``[(what, measured, target, whether it holds)]``.
    """
    rows = [(what, found, target + ("" if holds else ": missed")) for what, found, target, holds in checks]
    print("\n".join(report.table(rows, ["what", "measured", "target"])))
    return 0 if all(holds for *_, holds in checks) else 1
