"""`./fanatico drill nemesis`: inject random faults, one after the other, under appends to lists; then check every list."""

import json
import random
import secrets
import time

from lab import health
from lab.drill import history
from lab.drill.faults import FAULTS, halves
from lab.drill.run import HERE, Scene, leader, loading
from lab.errors import LabError

# Faults that could lose, repeat or reorder a write: they move leadership, isolate the leader, or end it during a commit.
NAMES = (
    *("postgres-crash", "backend-kill", "postgres-pause", "replica-crash", "patroni-kill", "patroni-pause"),
    *("patroni-stop", "switchover", "rest-blackholed", "primary-power", "primary-pause", "primary-isolated"),
    *("primary-without-etcd", "primary-without-replicas", "one-way-to-replica", "one-way-from-etcd"),
    *("databases-lossy", "replica-power", "replica-isolated", "etcd-leader-kill", "etcd-leader-pause"),
    *("etcd-leader-isolated", "etcd-quorum-power", "haproxy-kill", "balancer-power", "vrrp-blocked"),
)
HALVES = "random-halves"  # of all databases and etcd nodes
HOLD, REST = (3, 30), (2, 15)  # ranges of seconds: both shorter and longer than a lease


def nemesis(lab, secret, minutes, folder, progress, seed):
    """
    Inject random faults for ``minutes`` and return the record.

    Returns ``{"seed", "seconds", "faults": [{"fault", "struck", "healed", "why"}], "leaders", "timeline", "nodes": {node:
    counts}}``, the counts of ``history.check`` for the final leader and each replica.

    Raises LabError when the cluster does not recover.
    """
    folder.mkdir(parents=True)
    rng, name, faults = random.Random(seed), f"nemesis-{secrets.token_hex(3)}", []
    scene = Scene(lab, secret)
    begun, leaders = time.monotonic(), [scene.leader]
    with loading(scene, name, folder, HERE / "append.py") as load:
        while time.monotonic() - begun < minutes * 60:
            faults.append(inject(scene, rng, progress, begun))
            time.sleep(rng.uniform(*REST))
            scene = again(lab, secret)
            leaders += [scene.leader] if scene.leader != leaders[-1] else []
        health.wait(lab)
        time.sleep(5)  # appends and reads on the healthy cluster
        load.stop()
    lines = load.lines()
    now_leading = leader(lab)
    wait_replayed(lab, now_leading)
    finals = {node: lists(lab, node, name) for node in scene.databases}
    timeline = int(lab.sql(now_leading, "SELECT timeline_id FROM pg_control_checkpoint()"))
    lab.sql(now_leading, f"DELETE FROM drill_append WHERE run = '{name}'", "fanatico")
    return {
        "seed": seed,
        "seconds": time.monotonic() - begun,
        "faults": faults,
        "leaders": leaders,
        "timeline": timeline,
        "nodes": {node: history.check(lines, final) for node, final in finals.items()},
    }


def inject(scene, rng, progress, begun):
    """Inject a random fault, hold it and revert it; return ``{"fault", "struck", "healed", "why"}``, seconds from ``begun``."""
    name = rng.choice((*NAMES, HALVES, HALVES))
    hold = rng.uniform(*HOLD)
    fault = FAULTS.get(name) or halves(rng)
    record = {"fault": name, "struck": time.monotonic() - begun, "why": ""}
    progress(f"{record['struck']:5.0f} s: {name} for {hold:.0f} s, {scene.leader} leads")
    try:
        fault.strike(scene)
        time.sleep(hold)
    except LabError as exc:  # a fault may need something that an earlier one has broken
        record["why"] = str(exc)[:300]
    finally:
        if fault.heal:
            fault.heal(scene)
    return record | {"healed": time.monotonic() - begun}


def again(lab, secret):
    """Return a new Scene as soon as there is a leader. Raises LabError after ``health.WITHIN`` seconds."""
    deadline = time.monotonic() + health.WITHIN
    while True:
        try:
            return Scene(lab, secret)
        except (LabError, ValueError, AttributeError):  # no leader yet, or etcd does not answer
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def wait_replayed(lab, leading):
    """Wait until every replica has replayed the leader's log. Raises LabError after ``health.WITHIN`` seconds."""
    end = lab.sql(leading, "SELECT pg_current_wal_lsn()").strip()
    asked = f"SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn"
    deadline = time.monotonic() + health.WITHIN
    for node in lab.nodes("patroni"):
        while node != leading and lab.sql(node, asked).strip() != "t":
            if time.monotonic() > deadline:
                raise LabError(
                    f"{node} has not replayed {end} of the leader {leading} within {health.WITHIN} s."
                )
            time.sleep(0.5)


def lists(lab, node, name):
    """Return ``{key: [number, ...]}``: the lists on a node."""
    asked = f"SELECT coalesce(json_object_agg(key, list), '{{}}') FROM drill_append WHERE run = '{name}'"
    return {int(key): numbers for key, numbers in json.loads(lab.sql(node, asked, "fanatico")).items()}


def complaints(record):
    """Return the violations in a record, one text each."""
    found = [
        f"{node}: {counts[key]} {key}"
        for node, counts in record["nodes"].items()
        for key in ("lost", "nowhere", "duplicate", "disorder", "torn", "stale")
        if counts[key]
    ]
    first = next(iter(record["nodes"].values()))
    if not first["appended"] or not first["read"]:
        found.append("no append or no read has succeeded: the check proves nothing")
    return found
