"""`./fanatico drill nemesis`: faults at random, one after the other, while lists are appended to; then every list is compared."""

import json
import random
import secrets
import time

from lab import health
from lab.drill import history
from lab.drill.faults import FAULTS, halves
from lab.drill.run import HERE, Scene, leader, loading
from lab.errors import LabError

# What can lose, repeat or reorder a write: whatever moves the lead, cuts the primary off, or ends it in mid-commit.
NAMES = (
    *("postgres-crash", "backend-kill", "postgres-pause", "replica-crash", "patroni-kill", "patroni-pause"),
    *("patroni-stop", "switchover", "rest-blackholed", "primary-power", "primary-pause", "primary-isolated"),
    *("primary-without-etcd", "primary-without-replicas", "one-way-to-replica", "one-way-from-etcd"),
    *("databases-lossy", "replica-power", "replica-isolated", "etcd-leader-kill", "etcd-leader-pause"),
    *("etcd-leader-isolated", "etcd-quorum-power", "haproxy-kill", "balancer-power", "vrrp-blocked"),
)
HALVES = "random-halves"  # of all databases and etcd nodes
HOLD, REST = (3, 30), (2, 15)  # seconds, any time between: long enough for a lease to end, and too short


def nemesis(lab, secret, minutes, folder, progress, seed):
    """
    Break things at random for so many minutes, and return what became of the lists.

    Returns ``{"seed", "seconds", "faults": [{"fault", "struck", "healed"}], "leaders", "timeline", "nodes": {node: counts}}``,
    the counts as ``history.check`` makes them; the node that leads at the end, and its replicas, are each compared.

    Raises LabError where the cluster does not come back.
    """
    folder.mkdir(parents=True)
    rng, name, faults = random.Random(seed), f"nemesis-{secrets.token_hex(3)}", []
    scene = Scene(lab, secret)
    begun, leaders = time.monotonic(), [scene.leader]
    with loading(scene, name, folder, HERE / "append.py") as load:
        while time.monotonic() - begun < minutes * 60:
            faults.append(one(scene, rng, progress, begun))
            time.sleep(rng.uniform(*REST))
            scene = again(lab, secret)
            leaders += [scene.leader] if scene.leader != leaders[-1] else []
        health.wait(lab)
        time.sleep(5)  # appends and reads on a cluster that is well again
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


def one(scene, rng, progress, begun):
    """Strike, hold and heal one fault at random; return ``{"fault", "struck", "healed", "why"}``, seconds from the beginning."""
    name = rng.choice((*NAMES, HALVES, HALVES))
    hold = rng.uniform(*HOLD)
    fault = FAULTS.get(name) or halves(rng)
    record = {"fault": name, "struck": time.monotonic() - begun, "why": ""}
    progress(f"{record['struck']:5.0f} s: {name} for {hold:.0f} s, {scene.leader} leads")
    try:
        fault.strike(scene)
        time.sleep(hold)
    except LabError as exc:  # what is broken already cannot always be broken again
        record["why"] = str(exc)[:300]
    finally:
        if fault.heal:
            fault.heal(scene)
    return record | {"healed": time.monotonic() - begun}


def again(lab, secret):
    """Return a new Scene, as soon as somebody leads. Raises LabError where that takes too long."""
    deadline = time.monotonic() + health.WITHIN
    while True:
        try:
            return Scene(lab, secret)
        except (LabError, ValueError, AttributeError):  # nobody leads yet, or etcd cannot tell
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def wait_replayed(lab, leading):
    """Wait until every replica has all that the leader has. Raises LabError where that takes too long."""
    end = lab.sql(leading, "SELECT pg_current_wal_lsn()").strip()
    asked = f"SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn"
    deadline = time.monotonic() + health.WITHIN
    for node in lab.nodes("patroni"):
        while node != leading and lab.sql(node, asked).strip() != "t":
            if time.monotonic() > deadline:
                raise LabError(f"{node} has not replayed {end} of {leading}.")
            time.sleep(0.5)


def lists(lab, node, name):
    """Return ``{key: [number, ...]}`` as a node has them."""
    asked = f"SELECT coalesce(json_object_agg(key, list), '{{}}') FROM drill_append WHERE run = '{name}'"
    return {int(key): numbers for key, numbers in json.loads(lab.sql(node, asked, "fanatico")).items()}


def complaints(record):
    """Return what must not be, one sentence each."""
    found = [
        f"{node}: {counts[key]} {key}"
        for node, counts in record["nodes"].items()
        for key in ("lost", "nowhere", "duplicate", "disorder", "torn", "stale")
        if counts[key]
    ]
    first = next(iter(record["nodes"].values()))
    if not first["appended"] or not first["read"]:
        found.append("nothing was appended, or nothing read: there is nothing to judge by")
    return found
