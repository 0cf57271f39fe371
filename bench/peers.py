"""Run the same drills in the same lab with the timing of other tools: `./fanatico bench peers`.

Only the timing is theirs; everything else is from this tree: HAProxy's checks of Patroni, VRRPv3, quorum commit. So the figures
show the effect of their settings, and are better than those of their own installations would be.
"""

import argparse
import datetime
import json
from contextlib import contextmanager
from pathlib import Path

import yaml

from bench import outcome
from lab import health, preflight, report
from lab.drill import command
from lab.drill import report as reports
from lab.drill.faults import FAULTS
from lab.machines import Lab

DRILLS = ("postgres-crash", "switchover", "primary-power", "balancer-power")

# From their templates and defaults (autobase 2.6: vars/main.yml; Pigsty 4.5: roles/pgsql/defaults/main.yml and service.cfg,
# roles/node/templates/keepalived.conf.j2). VRRP in whole seconds, because both use version 2.
PEERS = {
    "this tree, swift": {"preset": "swift"},
    "autobase": {
        "patroni": {
            "ttl": 30,
            "loop_wait": 10,
            "retry_timeout": 10,
            "primary_start_timeout": 300,
        },
        "etcd": {"heartbeat_ms": 1000, "election_ms": 5000},
        "haproxy": {"inter_ms": 3000, "fastinter_ms": 1000, "downinter_ms": 3000, "rise": 4, "fall": 3},
        "vrrp": {"advert": 2},
    },
    "Pigsty fast": {
        "patroni": {"ttl": 20, "loop_wait": 5, "retry_timeout": 5, "primary_start_timeout": 15},
        "etcd": {"heartbeat_ms": 100, "election_ms": 1000},
        "haproxy": {"inter_ms": 1000, "fastinter_ms": 500, "downinter_ms": 1000, "rise": 3, "fall": 3},
        "vrrp": {"advert": 1},
    },
    "Pigsty norm": {
        "patroni": {"ttl": 30, "loop_wait": 5, "retry_timeout": 10, "primary_start_timeout": 25},
        "etcd": {"heartbeat_ms": 100, "election_ms": 1000},
        "haproxy": {"inter_ms": 2000, "fastinter_ms": 1000, "downinter_ms": 2000, "rise": 3, "fall": 3},
        "vrrp": {"advert": 1},
    },
}


def main(arguments=None):
    """Run the drills with every timing, print a table and save the raw numbers. Return 1 if a write was lost."""
    options = argparse.ArgumentParser(prog="./fanatico bench peers", description=__doc__)
    options.add_argument(
        "--runs", type=int, default=3, help="runs of each drill with each timing (default: 3)"
    )
    options.add_argument(
        "--drills", default=",".join(DRILLS), help=f"drills, with commas (default: {','.join(DRILLS)})"
    )
    options.add_argument("--name", default="default", help="name of the lab (default: default)")
    chosen = options.parse_args(arguments)
    preflight.check_root()
    lab, now = Lab(chosen.name), datetime.datetime.now(datetime.UTC)
    folder, results = Path(f"drills/peers-{now:%Y%m%d-%H%M%S}"), {}
    with lab.locked(), timing_put_back(lab):
        for name, timing in PEERS.items():
            command.say(f"== {name}")
            deploy(lab, timing)
            place = folder / name.replace(" ", "-").replace(",", "")
            place.mkdir(parents=True)
            # Their write gaps exceed our limits; the benchmark fails only for lost writes.
            drills = {drill: FAULTS[drill] for drill in chosen.drills.split(",")}
            command.carry_out(lab, drills, chosen.runs, place)
            results[name] = json.loads((place / "report.json").read_text())
    print("\n".join(table(results)))
    outcome.keep("peers", {name: reports.kept(result) for name, result in results.items()})
    return (
        1
        if any(fault["counts"]["lost"] for result in results.values() for fault in result["faults"].values())
        else 0
    )


def deploy(lab, timing):
    """Deploy the lab with another timing and wait until it is healthy."""
    path = lab.folder / "plan.sls"
    content = yaml.safe_load(path.read_text())
    content["plan"]["timing"] = timing
    path.write_text(yaml.safe_dump(content, sort_keys=False))  # in place: the file is bound into the master
    lab.salt_run("state.orchestrate", "orch.deploy", timeout=600)
    health.wait(lab)


@contextmanager
def timing_put_back(lab):
    """Restore the lab's plan at the end of the block."""
    lab.require_deployed()
    path = lab.folder / "plan.sls"
    before = path.read_text()
    try:
        yield
    finally:
        path.write_text(before)
        lab.salt_run("state.orchestrate", "orch.deploy", timeout=600)


def table(results):
    """Return the lines of a table: median and worst write gap of each drill with each timing."""
    drills = next(iter(results.values()))["faults"]
    rows = [
        (
            name,
            *(
                f"{result['faults'][drill]['figures']['write_gap']['p50']:.1f} / "
                f"{result['faults'][drill]['figures']['write_gap']['max']:.1f}"
                for drill in drills
            ),
        )
        for name, result in results.items()
    ]
    return report.table(rows, ["timing of", *drills])
