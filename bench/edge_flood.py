"""Measure the effect of a flood at the edge on database clients: `./fanatico bench edge-flood`.

An application writes through the virtual IP two hundred times a second, on a fixed schedule. First without any attack; then
fifty addresses send the most expensive requests; then the edge's memory limit is lowered until the flood reaches it and the
kernel kills its processes; then all of its processes are killed, several times. Raw numbers are saved in bench/results/.
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
LOW = 16  # MiB above the edge's present memory; the flood needs more
SHARES = 256  # of 1024, like CPUWeight=25 of 100
V1 = Path("/sys/fs/cgroup")  # controllers of cgroup v1, where this machine lacks them in v2
KILLS, EVERY = 5, 3  # how often all processes are killed, and seconds between two kills
KILL = f'kill -KILL $(cat "/sys/fs/cgroup$(systemctl show -P ControlGroup {UNIT})/cgroup.procs")'
MOST = 2  # limit of p99, as a multiple of p99 without the flood


def main(arguments=None):
    """Measure, print a table and save the raw numbers. Return 1 if a target is missed."""
    options = argparse.ArgumentParser(prog="./fanatico bench edge-flood", description=__doc__)
    options.add_argument("--seconds", type=int, default=20, help="duration of each part (default: 20)")
    options.add_argument("--name", default="default", help="name of the lab (default: default)")
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
    """Wait for ``seconds``; return (begin, end) of the monotonic clock."""
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def figures(writes, began, ended):
    """Return ``{"writes", "not acknowledged", "p50", "p99", "worst"}`` of the writes due in a period; times in milliseconds."""
    due = [line for line in writes if began <= line["due"] < ended]
    took = [1000 * (line["done"] - line["due"]) for line in due if line["outcome"] == "ok"]
    return {
        "writes": len(due),
        "not acknowledged": len(due) - len(took),
        **{f"p{share}": measure.percentile(took, share / 100) for share in (50, 99)},
        "worst": max(took),
    }


def sessions(lab, holder):
    """Return the application's sessions through the balancer, as a sorted list of client addresses and ports."""
    found = lab.salt(holder, "fanatico_haproxy.sessions")[holder]
    if not isinstance(found, list):
        raise LabError(f"{holder}: HAProxy's sessions could not be read: {found}")
    client = free_address(lab.plan)
    return sorted(session["client"] for session in found if session["client"].startswith(f"{client}:"))


def number(lab, holder, name):
    """Return a numeric property of the edge's unit; 0 if it has no value."""
    value = lab.exec(holder, ["systemctl", "show", "-P", name, UNIT]).stdout.strip()
    return int(value) if value.isdecimal() else 0


def group(lab, holder):
    """Return the path of the cgroup of the edge's unit on this machine."""
    return next(cgroup.path(lab.name, holder).glob(f"**/{UNIT}.service"))


def pids(lab, holder):
    """Return the pids of the edge's processes on this machine."""
    return [int(pid) for pid in (group(lab, holder) / "cgroup.procs").read_text().split()]


def cpu(lab, holder):
    """Return the CPU time of the edge since its cgroup was created, in seconds."""
    words = (group(lab, holder) / "cpu.stat").read_text().split()
    return int(words[words.index("usage_usec") + 1]) / 1e6


def memory(lab, holder):
    """Return the resident memory of the edge's processes, in MiB."""
    sizes = (Path(f"/proc/{pid}/status").read_text() for pid in pids(lab, holder))
    return sum(int(text.split("VmRSS:")[1].split()[0]) for text in sizes) / 1024


@contextlib.contextmanager
def confined(lab, holder, controller, settings):
    """Move the edge's processes into a group of cgroup v1 for the duration of the block; yields its folder.

    Where a controller is in cgroup v1, systemd's limits have no effect in the lab. Processes that start later are not moved.
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
    """Flood the edge for ``seconds``; see ``Client.running``."""
    words = [lab.plan["virtual_ip"]["address"], lab.plan["ports"]["rpc_http"], seconds, *flooder.sources]
    return flooder.running("bench.flood", *words, seconds=seconds)


@contextlib.contextmanager
def weighed(lab, holder):
    """Give the edge the CPU weight of its unit, for the duration of the block."""
    with contextlib.ExitStack() as stack:
        if not (group(lab, holder) / "cpu.weight").exists():
            stack.enter_context(confined(lab, holder, "cpu", {"cpu.shares": SHARES}))
        yield


@contextlib.contextmanager
def limited(lab, holder):
    """Limit the edge to less memory than the flood needs, for the duration of the block.

    Yields a function that returns the number of processes that the kernel has killed for lack of memory.
    """
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
    """Return the number of processes that the kernel has killed in a cgroup for lack of memory."""
    words = path.read_text().split()
    return int(words[words.index("oom_kill") + 1])


def judged(raw):
    """Return [(what, measured, target, whether it holds)]."""
    quiet, rows = raw["parts"]["quiet"], []
    for name, part in raw["parts"].items():
        times, lost = part["p99"] / quiet["p99"], part["not acknowledged"]
        times_ms = f"{part['p50']:.1f}, {part['p99']:.1f}, {part['worst']:.1f} ms"
        rows.append((f"{name}: p50, p99, worst of {part['writes']} writes", times_ms, "", True))
        if part is not quiet:
            rows.append((f"{name}: p99, times that of quiet", f"{times:.2f}", f"< {MOST}", times < MOST))
        rows.append((f"{name}: not acknowledged", str(lost), "0", lost == 0))
    stayed = raw["sessions"]["before"] == raw["sessions"]["after"] and raw["sessions"]["address stayed"]
    rows.append(
        (
            "the application's sessions",
            f"{len(raw['sessions']['after'])} unchanged" if stayed else "changed",
            "unchanged",
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
    rows.append(("processes killed at the memory limit", str(edge["ended for memory"]), "> 0", reached))
    return rows
