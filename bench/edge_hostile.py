"""Measure the effect of an hour of hostile traffic at the edge on well-behaved clients: `./fanatico bench edge-hostile`.

An application writes through the virtual IP two hundred times a second and a chain client sends forty requests a second, both on
a fixed schedule. First without any attack; then fifty addresses, and clients of changing IPv6 networks behind CloudFlare, run the
attacks of bench/harm.py: fuzzed JSON, wrong lengths, slow heads and bodies, floods, broken WebSockets. Raw numbers are saved in
bench/results/.
"""

import argparse
import contextlib
import tempfile
import threading
import time
from pathlib import Path

import fanatico_measure as measure
from bench import edge_flood as flood
from bench import outcome
from bench.clients import AHEAD, SOURCES, Client
from lab.drill.run import Scene, loading, password

TRUSTED = [f"173.245.48.{number}" for number in range(1, 11)]  # of cloudflare:ranges
RATE, QUIET = 40, 60  # requests per second of the well-behaved client; seconds without an attack
MINUTES, EVERY = 60, 5  # default duration; seconds between two samples of the edge's memory
ANSWERED = 0.95  # target: share of the client's requests that are answered
GROWS = 1.25  # limit: maximum memory in the second half, as a multiple of that in the first half


def main(arguments=None):
    """Measure, print a table and save the raw numbers. Return 1 if a target is missed."""
    options = argparse.ArgumentParser(prog="./fanatico bench edge-hostile", description=__doc__)
    options.add_argument(
        "--minutes", type=float, default=MINUTES, help=f"duration of the hostile traffic (default: {MINUTES})"
    )
    options.add_argument("--seed", type=int, default=1, help="random seed of the attacks (default: 1)")
    options.add_argument("--name", default="default", help="name of the lab (default: default)")
    chosen = options.parse_args(arguments)
    with outcome.deployed(chosen.name) as lab, tempfile.TemporaryDirectory() as folder:
        raw = measured(lab, Path(folder), round(chosen.minutes * 60), chosen.seed)
    code = outcome.show(judged(raw))
    outcome.keep("edge-hostile", raw)
    return code


def measured(lab, folder, seconds, seed):
    """Return ``{"quiet", "hostile": {"reads", "writes"}, "sessions", "memory", "limit", "restarts", "harm"}``."""
    (holder,) = lab.virtual_ip_holders()
    address, ports = lab.plan["virtual_ip"]["address"], lab.plan["ports"]
    target = [address, ports["rpc_http"]]
    with contextlib.ExitStack() as stack:
        good = stack.enter_context(Client(lab, "good"))
        bad = stack.enter_context(Client(lab, "flooder", ("client", "good"), SOURCES + TRUSTED))
        load = stack.enter_context(loading(Scene(lab, password(lab)), "edge-hostile", folder))
        time.sleep(4)
        before, restarts = flood.sessions(lab, holder), flood.number(lab, holder, "NRestarts")
        with good.running("bench.steady", *target, RATE, QUIET, seconds=QUIET, ahead=AHEAD) as quiet_reads:
            quiet = flood.lasting(QUIET)
        words = [*target, ports["rpc_ws"], seconds, seed, ",".join(SOURCES), ",".join(TRUSTED)]
        with (
            flood.weighed(lab, holder),
            sampling(lab, holder) as memory,
            bad.running("bench.harm", *words, seconds=seconds) as harm,
            good.running("bench.steady", *target, RATE, seconds, seconds=seconds, ahead=AHEAD) as reads,
        ):
            hostile = flood.lasting(seconds)
        after = flood.sessions(lab, holder)
        restarts = flood.number(lab, holder, "NRestarts") - restarts
        stayed = lab.virtual_ip_holders() == [holder]
        load.stop()
        writes = [line for line in load.lines() if line["kind"] == "write"]
    limit = lab.pillars(holder)[holder]["haproxy"]["edge"]["memory"]
    return {
        "quiet": {"reads": answered(quiet_reads, QUIET), "writes": flood.figures(writes, *quiet)},
        "hostile": {"reads": answered(reads, seconds), "writes": flood.figures(writes, *hostile)},
        "seconds": seconds,
        "sessions": {"before": before, "after": after, "address stayed": stayed},
        "memory": memory,
        "limit": limit,
        "restarts": restarts,
        "harm": harm,
    }


@contextlib.contextmanager
def sampling(lab, holder):
    """Sample the edge's memory for the duration of the block; yields a list that gets the samples in MiB."""
    sizes: list[float] = []
    over = threading.Event()

    def sample():
        while not over.wait(EVERY):
            # A process may end between two reads.
            with contextlib.suppress(OSError, IndexError):
                sizes.append(round(flood.memory(lab, holder), 1))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield sizes
    finally:
        over.set()
        thread.join()


def answered(said, seconds):
    """Return ``{"due", "answered", "p50", "p99", "failed"}`` from the output of bench/steady.py; times in milliseconds."""
    took = [1000 * seconds for seconds in said["seconds"]]
    return {
        "due": round(RATE * seconds),
        "answered": len(took),
        **{f"p{share}": measure.percentile(took, share / 100) for share in (50, 99)},
        "failed": said["failed"][:50],
    }


def judged(raw):
    """Return [(what, measured, target, whether it holds)]."""
    reads, writes, memory = raw["hostile"]["reads"], raw["hostile"]["writes"], raw["memory"]
    share = reads["answered"] / reads["due"]
    half = len(memory) // 2
    grown = max(memory[half:]) / max(memory[:half])
    stayed = raw["sessions"]["before"] == raw["sessions"]["after"] and raw["sessions"]["address stayed"]
    shown = [
        (
            f"{when}: {what}",
            f"p50 {raw[when][what]['p50']:.1f}, p99 {raw[when][what]['p99']:.1f} ms",
            "",
            True,
        )
        for when in ("quiet", "hostile")
        for what in ("reads", "writes")
    ]
    return [
        *shown,
        ("client's requests answered", f"{100 * share:.2f} %", f"{100 * ANSWERED:.0f} %", share >= ANSWERED),
        ("writes not acknowledged", str(writes["not acknowledged"]), "0", not writes["not acknowledged"]),
        ("application's sessions", f"{len(raw['sessions']['after'])} unchanged" if stayed else "changed", "unchanged", stayed),
        ("edge's memory MiB", f"at most {max(memory):.0f}", str(raw["limit"]), max(memory) < raw["limit"]),
        ("second half, times the first", f"{grown:.2f}", f"{GROWS}", grown <= GROWS),
        ("edge restarted", str(raw["restarts"]), "0", not raw["restarts"]),
        *((f"attacks: {way}", ", ".join(f"{what} {times}" for what, times in sorted(came.items())), "", True)
          for way, came in raw["harm"].items()),
    ]  # fmt: skip
