"""Fake runs of drills for tests of the report; no lab is needed."""

import random

from lab.drill import faults, plots, report
from lab.drill import run as drill

RATE, END = 200, 12.0  # writes a second; seconds from the fault until the load ends


def lines(gap, first=0.02, end=END, struck=0.0):
    """Return a client's attempts: a write every 1/RATE s, none acknowledged for ``gap`` seconds from ``first`` on."""
    made = []
    for number in range(int(4 * RATE + end * RATE)):
        due = number / RATE - 4
        ok = not first <= due < first + gap
        line = {
            "kind": "write",
            "worker": 0,
            "seq": number,
            "due": struck + due,
            "done": struck + due + 0.004,
        }
        made.append(line | {"outcome": "ok" if ok else "failed"})
    return made


def fault(name, gaps, seed=1, marks=None):
    """
    Return (what ``report.content`` takes for a fault, its timelines), a run for each write gap.

    gaps
        Seconds; infinite where no write is acknowledged after the fault.
    marks
        ``{phase: share of the gap after which it occurs}``.
    """
    rng, timelines, runs = random.Random(seed), {}, []
    known = faults.FAULTS[name]
    for number, gap in enumerate(gaps, 1):
        run = f"{name}-{number:03}"
        shown = min(gap, END)
        timelines[run] = report.timeline(lines(shown, rng.uniform(0, 0.1)), 0.0)
        record = {
            **dict.fromkeys(report.COUNTS, 0),
            **{
                "run": run,
                "write_gap": gap,
                "read_gap": shown / 5,
                "unavailable": shown,
                "acknowledged": 2400,
            },
            **{
                "two_writable": 0.0,
                "failover": known.failover is True,
                "leader_after": "db2",
                "cures": [],
                "removed": [],
            },
            **{"to_full_redundancy": 8.0, "noted": {}, "at": {"start": -4.0, "struck": 0.0, "healed": 5.0}},
            "phases": {
                mark: {"after": shown * share * rng.uniform(0.9, 1.05), "node": "db2"}
                for mark, share in (marks or {}).items()
            },
        }
        runs.append(record | {"complaints": [text for _, text in drill.violations(known, record)]})
    one = {"what": known.what, "number": known.number, "write_gap": known.write_gap}
    return one | {"heals": known.heal is not None, "runs": runs}, timelines


def page(folder, made):
    """Write the report of ``{fault: what fault() returned}`` into a folder and return the path of its page."""
    timing = {"patroni": {"ttl": 20, "loop_wait": 2}, "vrrp": {"advert": 0.3}}
    data = report.content({name: one for name, (one, _) in made.items()}, timing, {"haproxy": "3.0.11"})
    drawn = {name: plots.draw(data["faults"][name], made[name][1]) for name in made}
    report.write(folder, data, drawn)
    return folder / "report.html"
