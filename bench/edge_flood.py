"""What the databases' clients notice of a flood at the edge: `./fanatico bench edge-flood`.

An application writes through the virtual IP all the while, two hundred times a second, each write at its time. First nothing
else happens; then fifty addresses send the edge what costs it most; then its memory limit is lowered until the flood reaches it,
and the kernel ends its processes; then all of its processes are killed, several times. Raw numbers are kept in bench/results/.
"""

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

import fanatico_measure as measure
from bench import outcome
from bench.clients import SOURCES, Client
from lab import cgroup
from lab.drill.run import Scene, free_address, loading, password
from lab.errors import LabError

UNIT = "haproxy-edge"
LOW = 16  # MiB that the edge may take beyond what it has: the flood takes more
SHARES = 256  # of 1024, as CPUWeight=25 is of 100
V1 = Path("/sys/fs/cgroup")  # where the controllers are that this machine does not have in cgroup v2
KILLS, EVERY = 5, 3  # so often all of its processes are killed, and seconds from one to the next
KILL = f'kill -KILL $(cat "/sys/fs/cgroup$(systemctl show -P ControlGroup {UNIT})/cgroup.procs")'
MOST = 2  # times the p99 of before


def main(arguments=None):
    """Measure; print a table and keep the raw numbers. Returns 1 where a target is missed."""
    options = argparse.ArgumentParser(prog="./fanatico bench edge-flood", description=__doc__)
    options.add_argument("--seconds", type=int, default=20, help="of each part (default: 20)")
    options.add_argument("--name", default="default", help="which lab (default: default)")
    chosen = options.parse_args(arguments)
    with outcome.deployed(chosen.name) as lab, tempfile.TemporaryDirectory() as folder:
        raw = measured(lab, Path(folder), chosen.seconds)
    code = outcome.show(judged(raw))
    outcome.keep("edge-flood", raw)
    return code


def measured(lab, folder, seconds):
    """Return ``{"parts": {name: figures of the writes}, "sessions": {"before", "after"}, "edge": {...}}``."""
    (holder,) = lab.virtual_ip_holders()
    parts, edge = {}, {}
    with (
        Client(lab, "flooder", sources=SOURCES) as flooder,
        loading(Scene(lab, password(lab)), "edge-flood", folder) as load,
    ):
        time.sleep(4)
        before, restarts = sessions(lab, holder), number(lab, holder, "NRestarts")
        parts["quiet"] = lasting(seconds)
        with weighed(lab, holder), flooding(lab, flooder, seconds + 10) as edge["flood"]:
            time.sleep(3)
            used = cpu(lab, holder)
            parts["flooded"] = lasting(seconds)
            edge["processors"] = (cpu(lab, holder) - used) / seconds
            edge["memory"] = memory(lab, holder)
        with weighed(lab, holder), limited(lab, holder) as ended:
            with flooding(lab, flooder, seconds + 10) as edge["flood, limited"]:
                time.sleep(1)
                parts["flooded, memory limit reached"] = lasting(seconds + 2)
            edge["ended for memory"] = ended()
        edge["restarts by the limit"] = number(lab, holder, "NRestarts") - restarts
        time.sleep(2)
        began = time.monotonic()
        for _ in range(KILLS):
            lab.exec(holder, ["sh", "-c", KILL])
            time.sleep(EVERY)
        parts["edge killed"] = (began, time.monotonic())
        time.sleep(2)
        after = sessions(lab, holder)
        held = lab.virtual_ip_holders() == [holder]
        load.stop()
        writes = [line for line in load.lines() if line["kind"] == "write"]
    return {
        "parts": {name: figures(writes, *span) for name, span in parts.items()},
        "sessions": {"before": before, "after": after, "address stayed": held},
        "edge": edge,
    }


def lasting(seconds):
    """Wait so many seconds; return (from, until) of the monotonic clock."""
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def figures(writes, began, ended):
    """Return ``{"writes", "not acknowledged", "p50", "p99", "worst"}`` of what was due then; in milliseconds."""
    due = [line for line in writes if began <= line["due"] < ended]
    took = [1000 * (line["done"] - line["due"]) for line in due if line["outcome"] == "ok"]
    return {
        "writes": len(due),
        "not acknowledged": len(due) - len(took),
        **{f"p{share}": measure.percentile(took, share / 100) for share in (50, 99)},
        "worst": max(took),
    }


def sessions(lab, holder):
    """Return the application's sessions through the balancer, by the clients' addresses and ports."""
    told = lab.salt(holder, "fanatico_haproxy.sessions")[holder]
    if not isinstance(told, list):
        raise LabError(f"{holder}: HAProxy's sessions could not be read: {told}")
    client = free_address(lab.plan)
    return sorted(one["client"] for one in told if one["client"].startswith(f"{client}:"))


def number(lab, holder, name):
    """Return a figure that systemd has of the edge's unit; 0 where it has none."""
    said = lab.exec(holder, ["systemctl", "show", "-P", name, UNIT]).stdout.strip()
    return int(said) if said.isdecimal() else 0


def group(lab, holder):
    """Return the cgroup of the edge's unit, as this machine sees it."""
    return next(cgroup.path(lab.name, holder).glob(f"**/{UNIT}.service"))


def pids(lab, holder):
    """Return the edge's processes, by the numbers that they have on this machine."""
    return [int(pid) for pid in (group(lab, holder) / "cgroup.procs").read_text().split()]


def cpu(lab, holder):
    """Return how many seconds of processor time the edge has used since its cgroup was made."""
    words = (group(lab, holder) / "cpu.stat").read_text().split()
    return int(words[words.index("usage_usec") + 1]) / 1e6


def memory(lab, holder):
    """Return how many MiB the edge's processes hold."""
    sizes = (Path(f"/proc/{pid}/status").read_text() for pid in pids(lab, holder))
    return sum(int(text.split("VmRSS:")[1].split()[0]) for text in sizes) / 1024


@contextlib.contextmanager
def confined(lab, holder, controller, settings):
    """The edge's processes in a group of cgroup v1's, for as long as the block lasts; yields its folder.

    In a lab whose machine has a controller there, systemd's own limits have no effect. What is started meanwhile is not in it.
    """
    folder = V1 / controller / "fanatico-bench-edge"
    folder.mkdir(exist_ok=True)
    for name, value in settings.items():
        (folder / name).write_text(str(value))
    for pid in pids(lab, holder):
        (folder / "cgroup.procs").write_text(str(pid))
    try:
        yield folder
    finally:
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                (folder.parent / "cgroup.procs").write_text(pid)
        folder.rmdir()


def flooding(lab, flooder, seconds):
    """Flood the edge for so many seconds; see ``Client.running``."""
    words = [lab.plan["virtual_ip"]["address"], lab.plan["ports"]["rpc_http"], seconds, *flooder.sources]
    return flooder.running("bench.flood", *words, seconds=seconds)


@contextlib.contextmanager
def weighed(lab, holder):
    """The edge's share of the processors as its unit has it."""
    with contextlib.ExitStack() as stack:
        if not (group(lab, holder) / "cpu.weight").exists():
            stack.enter_context(confined(lab, holder, "cpu", {"cpu.shares": SHARES}))
        yield


@contextlib.contextmanager
def limited(lab, holder):
    """Less memory for the edge than the flood takes, for as long as the block lasts; yields a function that returns how
    many of its processes the kernel has ended for that."""
    own = group(lab, holder)
    if not (own / "memory.max").exists():
        with confined(lab, holder, "memory", {"memory.limit_in_bytes": LOW * 2**20}) as folder:
            yield lambda: counted(folder / "memory.oom_control")
        return
    before = (own / "memory.max").read_text()
    now = int((own / "memory.current").read_text())
    (own / "memory.max").write_text(str(now + LOW * 2**20))
    try:
        yield lambda: counted(own / "memory.events")
    finally:
        (own / "memory.max").write_text(before)


def counted(path):
    """Return how many processes the kernel has ended in a group."""
    words = path.read_text().split()
    return int(words[words.index("oom_kill") + 1])


def judged(raw):
    """Return [(what, measured, target, whether it holds)]."""
    quiet, rows = raw["parts"]["quiet"], []
    for name, one in raw["parts"].items():
        times, lost = one["p99"] / quiet["p99"], one["not acknowledged"]
        said = f"{one['p50']:.1f}, {one['p99']:.1f}, {one['worst']:.1f} ms"
        rows.append((f"{name}: p50, p99, worst of {one['writes']} writes", said, "", True))
        if one is not quiet:
            rows.append((f"{name}: p99, times that of quiet", f"{times:.2f}", f"< {MOST}", times < MOST))
        rows.append((f"{name}: not acknowledged", str(lost), "0", lost == 0))
    stayed = raw["sessions"]["before"] == raw["sessions"]["after"] and raw["sessions"]["address stayed"]
    rows.append(
        (
            "the application's sessions",
            f"{len(raw['sessions']['after'])} as before" if stayed else "others",
            "the same",
            stayed,
        )
    )
    edge = raw["edge"]
    rows.append(
        (
            "the edge under the flood",
            f"{edge['processors']:.2f} processors, {edge['memory']:.0f} MiB at most",
            "",
            True,
        )
    )
    reached = edge["ended for memory"] + edge["restarts by the limit"] > 0
    rows.append(("processes ended at the memory limit", str(edge["ended for memory"]), "> 0", reached))
    return rows
