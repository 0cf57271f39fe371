"""How long healing takes, from the fault to the proof: `./fanatico bench cures`.

Each run breaks one thing in a lab that is up and well, and waits for what an engineer would wait for: a unit that runs and stands
in the history as healed, a member of etcd that votes, a replica that streams. What is broken is nothing that serves at that
moment, and an application writes all the while: a write that fails is the cure's fault. Raw numbers are kept in bench/results/.
"""

import argparse
import collections
import json
import tempfile
import time
from pathlib import Path

import fanatico_measure as measure
from bench import outcome
from lab import health, preflight, report
from lab.deploy import reimage
from lab.drill.run import Scene, history, leader, loading, password
from lab.errors import LabError
from lab.machines import Lab

UNITS = (
    ("etcd", "etcd"),
    ("patroni", "patroni"),
    ("haproxy", "haproxy"),
    ("haproxy", "haproxy-edge"),
    ("haproxy", "keepalived"),
    ("rpc", "fanatico-rpc"),
)
LONGEST = 180  # seconds to wait for a cure
TARGETS = {
    "service stopped": (4, 8),
    "etcd data deleted": (None, 30),
    "replica data deleted": (None, 40),
    "database host reinstalled": (None, 90),
}  # p50, worst


def main(arguments=None):
    """Break and wait, so many times each; print a table and keep the raw numbers. Returns 1 where a target is missed."""
    options = argparse.ArgumentParser(prog="./fanatico bench cures", description=__doc__)
    options.add_argument("--runs", type=int, default=10, help="of each fault (default: 10)")
    options.add_argument("--name", default="default", help="which lab (default: default)")
    chosen = options.parse_args(arguments)
    preflight.check_root()
    lab = Lab(chosen.name)
    raw: dict[str, list[float]] = {name: [] for name in TARGETS}
    begun: list[tuple[float, str]] = []
    with lab.locked(), tempfile.TemporaryDirectory() as folder:
        lab.require_deployed()
        health.wait(lab)
        with loading(Scene(lab, password(lab)), "cures", Path(folder)) as load:
            for number in range(chosen.runs):
                for name, cure in CURES.items():
                    health.wait(lab)
                    # What was healed before is not what this run is about, nor is its budget.
                    lab.exec(lab.master, ["rm", "-f", "/var/lib/fanatico/guard.json"])
                    begun.append((time.monotonic(), f"{name} {number + 1}/{chosen.runs}"))
                    raw[name].append(cure(lab, number))
                    print(f"{begun[-1][1]}: {raw[name][-1]:.1f} s", flush=True)
            load.stop()
        writes = [line for line in load.lines() if line["kind"] == "write"]
    seen = collections.Counter(line["outcome"] for line in writes)
    missing = lacking(writes, begun)
    rows, missed = table(raw)
    print("\n".join(report.table(rows, ["fault", "runs", "p50 s", "worst s", "target"])))
    failed = len(writes) - seen["ok"]
    print(
        f"writes meanwhile: {seen['ok']} acknowledged, {failed} not (target 0{': missed' if failed else ''})"
    )
    for fault, found in missing.items():
        print(
            f"  not acknowledged in {fault}: {found['writes']}, {found['from']} to {found['to']} s after the fault"
        )
    outcome.keep("cures", {"seconds": raw, "writes": seen, "not acknowledged": missing})
    return 1 if missed or failed else 0


def lacking(writes, begun):
    """Return ``{fault and run: {"writes", "from", "to" (seconds after the fault)}}`` of the writes that were not acknowledged."""
    found: dict[str, list[float]] = {}
    for line in writes:
        if line["outcome"] != "ok":
            when, fault = max((one for one in begun if one[0] <= line["due"]), default=(0.0, "the beginning"))
            found.setdefault(fault, []).append(round(line["due"] - when, 2))
    return {
        fault: {"writes": len(moments), "from": min(moments), "to": max(moments)}
        for fault, moments in found.items()
    }


def table(raw):
    """Return (rows of the table, whether a target is missed)."""
    rows, missed = [], False
    for name, values in raw.items():
        median, worst = measure.percentile(values, 0.5), max(values)
        half, most = TARGETS[name]
        bad = worst >= most or (half is not None and median >= half)
        missed = missed or bad
        target = f"p50 {half}, worst {most}" if half else f"worst {most}"
        rows.append(
            (name, str(len(values)), f"{median:.1f}", f"{worst:.1f}", target + (": missed" if bad else ""))
        )
    return rows, missed


def stopped(lab, number):
    """A unit stopped by hand, another one each time: until the history says that it runs again and has proven itself."""
    role, unit = UNITS[number % len(UNITS)]
    nodes = [node for node in lab.nodes(role) if node not in (leader(lab), *lab.virtual_ip_holders())]
    return stop(lab, nodes[number % len(nodes)], unit)


def stop(lab, node, unit):
    """Stop a unit; return the seconds until the history says that it is healed. Raises LabError where that takes too long."""
    path = history(lab)
    seen = path.stat().st_size
    begun = time.monotonic()
    lab.exec(node, ["systemctl", "stop", unit])

    def healed():
        entries = map(json.loads, path.read_bytes()[seen:].splitlines())
        return any(
            one.get("what") == f"{unit}.service" and one["decision"] == "healed" and one["host"] == node
            for one in entries
        )

    return wait(healed, begun, f"{unit} on {node} to be healed")


def etcd_data_deleted(lab, number):
    """A member's data directory deleted under it: until it serves, votes and holds data again."""
    node = lab.nodes("etcd")[number % len(lab.nodes("etcd"))]
    begun = time.monotonic()
    lab.exec(node, ["sh", "-c", "rm -rf /var/lib/etcd/member"])

    def votes():
        checks = lab.salt(node, "fanatico_etcd.checks").get(node)
        well = isinstance(checks, dict) and all(
            checks.get(name, {}).get("status") == "ok" for name in ("etcd.serving", "etcd.member")
        )
        return well and any((lab.root(node) / "var/lib/etcd/member/wal").glob("*.wal"))

    return wait(votes, begun, f"{node} to vote again")


def replica_data_deleted(lab, number):
    """A replica's data directory deleted under it: until it streams again, by its primary's account."""
    node, streams = a_replica(lab, number)
    begun = time.monotonic()
    lab.exec(node, ["sh", "-c", "rm -rf /var/lib/postgresql/*/main/*"])
    return wait(streams, begun, f"{node} to stream again")


def host_reinstalled(lab, number):
    """A replica's host replaced by one with nothing but its minion, and that one's key: until it streams, from its power on."""
    node, streams = a_replica(lab, number)
    begun = time.monotonic()
    reimage(lab, node, keep=["etc/salt/pki/minion"])
    return wait(streams, begun, f"{node} to stream again")


def a_replica(lab, number):
    """Return (node, whether another walsender than now streams to it, as a function)."""
    leading = leader(lab)
    replicas = [node for node in lab.nodes("patroni") if node != leading]
    node = replicas[number % len(replicas)]
    asked = f"SELECT pid FROM pg_stat_replication WHERE application_name = '{node}' AND state = 'streaming'"
    before = lab.sql(leading, asked).strip()
    return node, lambda: lab.sql(leading, asked).strip() not in ("", before)


CURES = {
    "service stopped": stopped,
    "etcd data deleted": etcd_data_deleted,
    "replica data deleted": replica_data_deleted,
    "database host reinstalled": host_reinstalled,
}


def wait(so, begun, awaited):
    """Wait until it is so and return the seconds since the fault; raises LabError where it takes too long."""
    while not so():
        if time.monotonic() - begun > LONGEST:
            raise LabError(f"Waited {LONGEST} s for {awaited}: look with `salt-run fanatico.history`.")
        time.sleep(0.1)
    return time.monotonic() - begun
