"""The same drills in the same lab with the timing of other tools: `./fanatico bench peers`.

Only their timing is theirs; everything else is this tree's: how HAProxy reads Patroni's answers, VRRPv3, quorum commit. So the
figures are what their settings cost, and kinder to them than their own installations would be.
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

# As their own templates and defaults have it (autobase 2.6: vars/main.yml; Pigsty 4.5: roles/pgsql/defaults/main.yml and
# service.cfg, roles/node/templates/keepalived.conf.j2). VRRP in whole seconds, since both use version 2.
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
    """Run the drills with everybody's timing, print a table and keep the raw numbers. Returns 1 where a write was lost."""
    options = argparse.ArgumentParser(prog="./fanatico bench peers", description=__doc__)
    options.add_argument("--runs", type=int, default=3, help="of each drill with each timing (default: 3)")
    options.add_argument("--drills", default=",".join(DRILLS), help=f"default: {','.join(DRILLS)}")
    options.add_argument("--name", default="default", help="which lab (default: default)")
    chosen = options.parse_args(arguments)
    preflight.check_root()
    lab, now = Lab(chosen.name), datetime.datetime.now(datetime.UTC)
    folder, told = Path(f"drills/peers-{now:%Y%m%d-%H%M%S}"), {}
    with lab.locked(), timing_put_back(lab):
        for name, timing in PEERS.items():
            command.say(f"== {name}")
            deploy(lab, timing)
            place = folder / name.replace(" ", "-").replace(",", "")
            place.mkdir(parents=True)
            # Their gaps are beyond what ours may be; what must hold for anybody is that nothing is lost.
            drills = {drill: FAULTS[drill] for drill in chosen.drills.split(",")}
            command.carry_out(lab, drills, chosen.runs, place)
            told[name] = json.loads((place / "report.json").read_text())
    print("\n".join(table(told)))
    outcome.keep("peers", {name: reports.kept(one) for name, one in told.items()})
    return (
        1
        if any(one["counts"]["lost"] for report_ in told.values() for one in report_["faults"].values())
        else 0
    )


def deploy(lab, timing):
    """Give the lab another timing, and wait until all is well with it."""
    path = lab.folder / "plan.sls"
    content = yaml.safe_load(path.read_text())
    content["plan"]["timing"] = timing
    path.write_text(yaml.safe_dump(content, sort_keys=False))  # in place: the file is bound into the master
    lab.salt_run("state.orchestrate", "orch.deploy", timeout=600)
    health.wait(lab)


@contextmanager
def timing_put_back(lab):
    """Let the lab have its own plan again afterwards."""
    lab.require_deployed()
    path = lab.folder / "plan.sls"
    before = path.read_text()
    try:
        yield
    finally:
        path.write_text(before)
        lab.salt_run("state.orchestrate", "orch.deploy", timeout=600)


def table(told):
    """Return the lines of a table: the write gap's median and worst of each drill with each timing."""
    drills = next(iter(told.values()))["faults"]
    rows = [
        (
            name,
            *(
                f"{one['faults'][drill]['figures']['write_gap']['p50']:.1f} / "
                f"{one['faults'][drill]['figures']['write_gap']['max']:.1f}"
                for drill in drills
            ),
        )
        for name, one in told.items()
    ]
    return report.table(rows, ["timing of", *drills])
