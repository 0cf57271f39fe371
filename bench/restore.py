"""Restore the whole cluster to a moment under 200 writes per second, then undo it: `./fanatico bench restore`.

Each run chooses a moment, lets the client write on, restores, checks every row, undoes, checks every row again, and accepts.
Measured from the start of the command: the first write that is acknowledged again, and when every replica streams and a client's
proof has passed. Raw numbers are saved in bench/results/.
"""

import argparse
import datetime
import itertools
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from bench import outcome
from lab import health, preflight, report
from lab.drill.run import Scene, leader, ledger, loading, password
from lab.errors import LabError
from lab.machines import Lab

TARGETS = {"writable": 120, "whole": 180, "undo writable": None, "wrong rows": 0}  # seconds; rows
FILLER = """
    CREATE TABLE IF NOT EXISTS filler (n int, words text);
    INSERT INTO filler SELECT n, (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 31) WHERE n > 0)
      FROM generate_series(1, {rows}) AS n
"""
ROWS = 1000  # per megabyte


def main(arguments=None):
    """Run, print a table and save the raw numbers. Return 1 if a target is missed."""
    options = argparse.ArgumentParser(prog="./fanatico bench restore", description=__doc__)
    options.add_argument("--runs", type=int, default=5, help="runs (default: 5)")
    options.add_argument("--megabytes", type=int, default=1024, help="size of the database (default: 1024)")
    options.add_argument("--name", default="default", help="name of the lab (default: default)")
    chosen = options.parse_args(arguments)
    preflight.check_root()
    lab = Lab(chosen.name)
    raw: list[dict[str, float]] = []
    with lab.locked():
        lab.require_deployed()
        health.wait(lab)
        fill(lab, chosen.megabytes)
        for number in range(chosen.runs):
            with tempfile.TemporaryDirectory() as folder:
                raw.append(run(lab, f"restore-{number}-{random.randrange(10**6)}", Path(folder)))
            print(f"{number + 1}/{chosen.runs}: {raw[-1]}", flush=True)
            health.wait(lab)
    size = lab.sql(leader(lab), "SELECT pg_size_pretty(sum(pg_database_size(oid))) FROM pg_database").strip()
    rows, missed = table(raw)
    print("\n".join(report.table(rows, ["figure", "runs", "p50", "worst", "target"])))
    print(f"size of the databases: {size}")
    outcome.keep("restore", {"size": size, "runs": raw})
    return 1 if missed else 0


def fill(lab, megabytes):
    """Bring the application's database to a size, and make a full backup of it."""
    node = leader(lab)
    size = int(lab.sql(node, "SELECT pg_database_size('fanatico')").strip()) // 1024**2
    lacking = megabytes - size
    for _ in range(0, lacking, 64):
        statement = FILLER.format(rows=64 * ROWS)
        lab.exec(
            node, ["runuser", "-u", "postgres", "--", "psql", "-XAtqc", statement, "fanatico"], timeout=300
        )
    if lacking > 0:
        host = lab.nodes("backup")[0]
        before = labels(lab, host)
        lab.salt(host, "fanatico_backup.make", "full")
        deadline = time.monotonic() + 600
        while labels(lab, host) <= before:
            if time.monotonic() > deadline:
                raise LabError(
                    f"{host} made no full backup within 600 s. Check: journalctl -u fanatico-backup@full"
                )
            time.sleep(2)


def labels(lab, host):
    """Return the labels of the full backups."""
    return {
        one["label"]
        for one in lab.salt(host, "fanatico_backup.info")[host]["backups"]
        if one["type"] == "full"
    }


def run(lab, name, folder):
    """Restore and undo once; return the figures."""
    scene = Scene(lab, password(lab))
    with loading(scene, name, folder) as load:
        time.sleep(random.uniform(5, 35))
        moment = time.time()
        target = datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
        split = time.monotonic()
        time.sleep(random.uniform(5, 15))
        begun = orchestrate(lab, "restore", target=target)
        figures = {"whole": took(lab, begun)}
        time.sleep(2)
        figures["writable"] = again(load, begun) - begun
        wrong = compare(load.lines(), ledger(lab, leader(lab), name), split, begun)
        undo = orchestrate(lab, "restore_undo")
        time.sleep(2)
        figures["undo writable"] = again(load, undo) - undo
        restored = begun + figures["writable"]
        wrong += compare(load.lines(), ledger(lab, leader(lab), name), restored - 0.001, undo)
        load.stop()
    orchestrate(lab, "restore_accept")
    lab.sql(leader(lab), f"DELETE FROM drill_ledger WHERE run = '{name}'", "fanatico")
    return {key: round(value, 1) for key, value in figures.items()} | {"wrong rows": wrong}


def orchestrate(lab, name, **pillar):
    """Run an orchestration; return when it began, in seconds of the monotonic clock. Raises LabError if it fails."""
    begun = time.monotonic()
    arguments = [f"pillar={json.dumps(pillar)}"] if pillar else []
    done = lab.salt_run("state.orchestrate", f"orch.{name}", *arguments, check=False, timeout=900)
    if done.returncode:
        raise LabError(f"orch.{name} failed: {done.stdout[-3000:]}")
    return begun


def took(lab, begun):
    """Return the seconds from the start of the command until the restored cluster was whole, from the history."""
    path = lab.root(lab.master) / "var/log/fanatico/history.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    (*_, served) = (one for one in entries if (one["kind"], one["decision"]) == ("restore", "served"))
    moment = datetime.datetime.fromisoformat(served["time"]).timestamp()
    return moment - (time.time() - time.monotonic()) - begun


def again(load, since):
    """Return when the first write was acknowledged after the outage that began after ``since``."""
    done = sorted(
        line["done"] for line in load.lines() if line["kind"] == "write" and line["outcome"] == "ok"
    )
    before = [moment for moment in done if moment > since - 1]
    gap, end = max((second - first, second) for first, second in itertools.pairwise(before))
    if gap < 1:
        raise LabError("the writes were not interrupted: the cluster was not restored")
    return end


def compare(lines, rows, split, begun):
    """
    Return how many rows are wrong: acknowledged before ``split`` and missing, or written between ``split`` and ``begun``.

    lines
        The client's log.
    rows
        ``[(worker, seq), ...]`` in the database.
    split, begun
        The moment of the target, and the start of the command, in seconds of the monotonic clock.
    """
    held = set(rows)
    writes = [line for line in lines if line["kind"] == "write"]
    missing = [
        line
        for line in writes
        if line["outcome"] == "ok" and line["done"] < split and (line["worker"], line["seq"]) not in held
    ]
    surplus = [
        line for line in writes if split < line["due"] < begun and (line["worker"], line["seq"]) in held
    ]
    return len(missing) + len(surplus)


def table(raw):
    """Return ``(rows of the table, whether a target is missed)``."""
    rows, missed = [], False
    for name, target in TARGETS.items():
        values = [one[name] for one in raw]
        late = target is not None and max(values) > target
        missed = missed or late
        mark = "" if target is None else f"{target}{' missed' if late else ''}"
        rows.append([name, str(len(values)), f"{statistics.median(values):.1f}", f"{max(values):.1f}", mark])
    return rows, missed


if __name__ == "__main__":
    raise SystemExit(main())
