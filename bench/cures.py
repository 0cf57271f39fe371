"""Measure the time to heal, from the fault to the proof: `./fanatico bench cures`.

Each run injects one fault into a healthy lab and waits for the repaired state: a unit that runs and is healed according to the
history, an etcd member that votes, a replica that streams. The broken service does not serve clients at that moment, and an
application writes all the time, so a failed write is caused by the cure. Raw numbers are saved in bench/results/.
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
    """Run every fault, print a table and save the raw numbers. Return 1 if a target is missed."""
    options = argparse.ArgumentParser(prog="./fanatico bench cures", description=__doc__)
    options.add_argument("--runs", type=int, default=10, help="runs of each fault (default: 10)")
    options.add_argument("--name", default="default", help="name of the lab (default: default)")
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
                    # Earlier cures must not use up the attempts and the budget of this run.
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
        f"writes during the runs: {seen['ok']} acknowledged, {failed} not (target 0{': missed' if failed else ''})"
    )
    for fault, found in missing.items():
        print(
            f"  not acknowledged in {fault}: {found['writes']}, {found['from']} to {found['to']} s after the fault"
        )
    outcome.keep("cures", {"seconds": raw, "writes": seen, "not acknowledged": missing})
    return 1 if missed or failed else 0


def lacking(writes, begun):
    """Return the writes that were not acknowledged, ``{fault and run: {"writes", "from", "to" (seconds after the fault)}}``."""
    found: dict[str, list[float]] = {}
    for line in writes:
        if line["outcome"] != "ok":
            when, fault = max(
                (start for start in begun if start[0] <= line["due"]), default=(0.0, "the beginning")
            )
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
    """Stop a unit, another one in each run; return the seconds until the history reports it as healed."""
    role, unit = UNITS[number % len(UNITS)]
    nodes = [node for node in lab.nodes(role) if node not in (leader(lab), *lab.virtual_ip_holders())]
    return stop(lab, nodes[number % len(nodes)], unit)


def stop(lab, node, unit):
    """Stop a unit; return the seconds until the history reports it as healed. Raises LabError after LONGEST seconds."""
    path = history(lab)
    seen = path.stat().st_size
    begun = time.monotonic()
    lab.exec(node, ["systemctl", "stop", unit])

    def healed():
        entries = map(json.loads, path.read_bytes()[seen:].splitlines())
        return any(
            entry.get("what") == f"{unit}.service" and entry["decision"] == "healed" and entry["host"] == node
            for entry in entries
        )

    return wait(healed, begun, f"{unit} on {node} to be healed")


def etcd_data_deleted(lab, number):
    """Delete an etcd member's data; return the seconds until it serves, votes and has data again."""
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
    """Delete a replica's data; return the seconds until it streams again, according to the leader."""
    node, streams = a_replica(lab, number)
    begun = time.monotonic()
    lab.exec(node, ["sh", "-c", "rm -rf /var/lib/postgresql/*/main/*"])
    return wait(streams, begun, f"{node} to stream again")


def host_reinstalled(lab, number):
    """Replace a replica's host by a reinstalled one with the minion and its key; return the seconds until it streams."""
    node, streams = a_replica(lab, number)
    begun = time.monotonic()
    reimage(lab, node, keep=["etc/salt/pki/minion"])
    return wait(streams, begun, f"{node} to stream again")


def a_replica(lab, number):
    """Return (node, function that returns whether a new walsender streams to it)."""
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


def wait(condition, begun, awaited):
    """Wait for a condition and return the seconds since the fault. Raises LabError after LONGEST seconds."""
    while not condition():
        if time.monotonic() - begun > LONGEST:
            raise LabError(
                f"Waited {LONGEST} s for {awaited}. Check on the master: salt-run fanatico.history"
            )
        time.sleep(0.1)
    return time.monotonic() - begun
