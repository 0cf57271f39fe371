"""Measure the cost of HAProxy's JSON-RPC rules, and the effect of dead or lagging nodes: `./fanatico bench edge`.

The client runs on the balancer that holds the virtual IP, so the figures contain HAProxy's work and no network hop. Raw numbers
are saved in bench/results/.
"""

import argparse
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

import fanatico_measure as measure
from bench import outcome
from lab import cgroup, health, lint, network, preflight, report
from lab.errors import LabError

REPO = Path(__file__).parent.parent
CONFIG, UNIT = "/etc/haproxy/edge.cfg", "haproxy-edge"
LOAD = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}'
"""
RULES = ("http-request", "http-after-response", "tcp-request", "acl")
# Retries have a cost: HAProxy keeps a copy of each request until it is answered.
RETRIES = ("retry-on",)
# Rate limits that no client reaches; HAProxy still counts.
LIMITS = {"rpc": {"edge": {"limits": {"read": 10**8, "heavy": 10**8, "write": 10**8}}}}


class Edge:
    """The balancer of a lab that holds the virtual IP, and clients on it."""

    def __init__(self, lab):
        self.lab, self.holder = lab, lab.virtual_ip_holders()[0]
        self.address, self.port = lab.plan["virtual_ip"]["address"], lab.plan["ports"]["rpc_http"]

    def argv(self, *argv):
        """Return the command line that runs a command in the balancer's network namespace."""
        return ["ip", "netns", "exec", network.namespace(self.lab.name, self.holder), *map(str, argv)]

    def steady(self, rate, seconds, address=None):
        """Start a client with ``rate`` requests per second; see bench/steady.py."""
        argv = [sys.executable, "-m", "bench.steady", address or self.address, self.port, rate, seconds]
        # It represents separate hosts, which do not wait for a core while the lab's machines use all of them.
        argv = ["chrt", "--rr", "1", *self.argv(*argv)]
        return subprocess.Popen(argv, cwd=REPO, stdout=subprocess.PIPE, text=True)

    def saturated(self, seconds, connections=32):
        """Return the answers per second to clients that do not pause between requests.

        :raises LabError: when a request failed.
        """
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(LOAD)
            script.flush()
            url = f"http://{self.address}:{self.port}"
            wrk = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script.name, url]
            said = subprocess.run(self.argv(*wrk), capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in said or "Socket errors" in said:
            raise LabError(f"{self.holder}: requests of the load failed: {said}")
        rate = re.search(r"Requests/sec:\s+([0-9.]+)", said)
        if not rate:
            raise LabError(f"{self.holder}: wrk printed no rate: {said}")
        return float(rate[1])

    @contextlib.contextmanager
    def plain(self, retries=False):
        """Run HAProxy without our rules for the duration of the block."""
        whole = self.lab.exec(self.holder, ["cat", CONFIG]).stdout
        self.load(without_rules(whole, retries))
        try:
            yield
        finally:
            self.load(whole)

    def load(self, text):
        """Load a configuration into HAProxy and wait for its first health checks."""
        self.lab.machine(self.holder).exec(["tee", CONFIG], text_input=text)
        self.lab.exec(self.holder, ["systemctl", "reload", UNIT])
        time.sleep(3)

    def states(self):
        """Return {node: its status in HAProxy}."""
        lines = self.lab.exec(self.holder, ["sh", "-c", ASK_STATS]).stdout.splitlines()
        rows = [line.split(",") for line in lines if line.startswith("rpc_http,rpc")]
        return {row[1]: row[17] for row in rows}


ASK_STATS = """python3 -c '
import socket
s = socket.socket(socket.AF_UNIX); s.connect("/run/haproxy-edge/admin.sock"); s.sendall(b"show stat\\n")
while piece := s.recv(65536): print(piece.decode(), end="")
'"""


def without_rules(text, retries=False):
    """Return edge.cfg with the chain's HTTP port as a plain pass-through, without our rules.

    :param retries: keep retries of unanswered requests.
    """
    found, section, dropping = [], "", False
    rules = RULES if retries else RULES + RETRIES
    for line in text.splitlines():
        word = line.strip().split(" ")[0]
        if not line.startswith((" ", "\t")) and word and not word.startswith("#") and not dropping:
            section = line.strip()
        ours = section.startswith(("global", "frontend rpc_http", "backend rpc_http"))
        drop = dropping or (ours and word in (*rules, "lua-load-per-thread"))
        if drop and line.count("'") % 2:  # a quoted text that continues on the next line
            dropping = not dropping
        if not drop:
            found.append(line)
    return "\n".join(found) + "\n"


def main(arguments=None):
    """Measure, print a table and save the raw numbers. Return 1 if a target is missed."""
    options = argparse.ArgumentParser(prog="./fanatico bench edge", description=__doc__)
    options.add_argument("--runs", type=int, default=5, help="runs of each measurement (default: 5)")
    options.add_argument("--name", default="default", help="name of the lab (default: default)")
    chosen = options.parse_args(arguments)
    preflight.check_root()
    lint.install("wrk")
    with outcome.deployed(chosen.name) as lab, limits_lifted(lab):
        edge = Edge(lab)
        block_time = yaml.safe_load((REPO / "lab/site.sls").read_text())["rpc"]["chain"]["block_time"]
        raw = {
            "requests a second": throughput(edge, chosen.runs),
            "latency": latency(edge, chosen.runs),
            "killed": [killed(edge) for _ in range(chosen.runs)],
            "lag": [lag(edge, number) for number in range(chosen.runs)],
        }
    rows, missed = table(raw, block_time)
    print("\n".join(report.table(rows, ["what", "measured", "target"])))
    outcome.keep("edge", raw)
    return 1 if missed else 0


@contextlib.contextmanager
def before_all_others(lab, services):
    """Give the services of {machine: service} real-time priority for the duration of the block.

    They represent hosts that do not share their processors with the lab's other machines. A nice value counts only inside a
    machine's cgroup, so this uses the lowest real-time priority.

    :raises LabError: when a service does not run.
    """
    threads = []
    for machine, service in services.items():
        pids = [
            pid
            for listed in cgroup.path(lab.name, machine).glob(f"**/{service}.service/cgroup.procs")
            for pid in listed.read_text().split()
        ]
        if not pids:
            raise LabError(
                f"{machine}: {service} does not run. Check on {machine}: systemctl status {service}"
            )
        threads += [int(task.name) for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    try:
        for thread in threads:
            os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(1))
        yield
    finally:
        for thread in threads:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


@contextlib.contextmanager
def limits_lifted(lab):
    """Lift the rate limits for the duration of the block."""

    def apply():
        lab.salt("haproxy*", "saltutil.refresh_pillar", "wait=True")
        for node, states in lab.salt("haproxy*", "state.apply", "edge.running").items():
            if not isinstance(states, dict) or not all(state["result"] for state in states.values()):
                raise LabError(f"{node}: the states of edge.running failed: {states}")

    lab.site_write(LIMITS)
    try:
        apply()
        yield
    finally:
        lab.site_write({})
        apply()


def throughput(edge, runs, rounds=4, seconds=3):
    """Return [{"whole", "plain", "retries": requests per second}]: with all rules, without any, and with retries only.

    The three take turns of a few seconds, several rounds per run, because the machine's speed varies by a third.
    """
    found = []
    for _ in range(runs * rounds):
        rates = {"whole": edge.saturated(seconds)}
        for name, retries in (("plain", False), ("retries", True)):
            with edge.plain(retries):
                rates[name] = edge.saturated(seconds)
        found.append(rates)
        print(f"saturated, requests/s: {rates}", flush=True)
    return found


def latency(edge, runs, rate=2000, seconds=8):
    """Return [{"shared", "own": {"direct": {"p50", "p99"}, "through": ...}}] in milliseconds, measured by turns on one host.

    ``shared``: HAProxy and the nodes share the processors with all machines of the lab. ``own``: they have priority, like
    separate hosts.
    """
    node = edge.lab.nodes("rpc")[0]
    ways = {"direct": edge.lab.plan["nodes"][node]["address"], "through": edge.address}
    services = {**dict.fromkeys(edge.lab.nodes("rpc"), "fanatico-rpc"), edge.holder: UNIT}
    found = []
    for _ in range(runs):
        run = {"shared": asked(edge, ways, rate, seconds)}
        with before_all_others(edge.lab, services):
            run["own"] = asked(edge, ways, rate, seconds)
        found.append(run)
        print(f"at {rate} requests/s, ms: {run}", flush=True)
    return found


def asked(edge, ways, rate, seconds):
    """Return {way: {"p50", "p99"}} in milliseconds.

    :raises LabError: when a request failed.
    """
    took = {}
    for way, address in ways.items():
        answers = finished(edge.steady(rate, seconds, address))
        if answers["failed"]:
            raise LabError(f"{way}: {len(answers['failed'])} requests failed: {answers['failed'][0]}")
        took[way] = {
            f"p{share}": 1000 * measure.percentile(answers["seconds"], share / 100) for share in (50, 99)
        }
    return took


def killed(edge, rate=500, seconds=10):
    """Return {"asked", "failed": [reason], "longest": seconds} of reads while each node is killed once.

    One node after the other: a node of the lab restarts without its chain and is out of rotation until it has synced.
    """
    found: dict[str, Any] = {"asked": 0, "failed": [], "longest": 0}
    for node in edge.lab.nodes("rpc"):
        client = edge.steady(rate, seconds)
        time.sleep(3)
        edge.lab.exec(node, ["systemctl", "kill", "--signal=KILL", "fanatico-rpc"])
        answers = finished(client)
        found["asked"] += len(answers["seconds"]) + len(answers["failed"])
        found["failed"] += answers["failed"]
        found["longest"] = max(found["longest"], *answers["seconds"])
        health.wait(edge.lab)
    print(f"nodes killed: {found['asked']} reads, {len(found['failed'])} failed", flush=True)
    return found


def lag(edge, number):
    """Freeze and release a node's head under load; return {"node", "out", "back": seconds, "backwards": blocks, "failed"}."""
    # The first node makes the blocks: frozen, it would halt the chain.
    nodes = edge.lab.nodes("rpc")[1:]
    node = nodes[number % len(nodes)]
    signal = ["systemctl", "kill", "fanatico-rpc-follow", "--signal"]
    client = edge.steady(200, 40)
    time.sleep(2)
    edge.lab.exec(node, [*signal, "STOP"])
    begun = time.monotonic()
    try:
        out = until(lambda: edge.states()[node] != "UP", begun)
    finally:
        edge.lab.exec(node, [*signal, "CONT"])
    back = until(lambda: edge.states()[node] == "UP", time.monotonic())
    answers = finished(client)
    backwards = max(
        (before - after for heads in answers["heads"] for before, after in itertools.pairwise(heads)),
        default=0,
    )
    health.wait(edge.lab)
    print(
        f"{node}'s head frozen: out after {out:.1f} s, back after {back:.1f} s, {backwards} blocks backwards",
        flush=True,
    )
    return {
        "node": node,
        "out": out,
        "back": back,
        "backwards": max(0, backwards),
        "failed": answers["failed"],
    }


def until(condition, begun, timeout=30):
    """Wait for a condition and return how many seconds it took.

    :raises LabError: after ``timeout`` seconds.
    """
    while not condition():
        if time.monotonic() - begun > timeout:
            raise LabError(f"The node's status in HAProxy did not change within {timeout} s.")
        time.sleep(0.1)
    return time.monotonic() - begun


def finished(client):
    """Wait for a client to end and return its JSON output."""
    said, _ = client.communicate(timeout=120)
    return json.loads(said)


def table(raw, block_time):
    """Return (rows of the table, whether a target is missed)."""
    share, alike = (
        measure.percentile([rates["whole"] / rates[other] for rates in raw["requests a second"]], 0.5)
        for other in ("plain", "retries")
    )
    added = {
        whose: {
            mark: measure.percentile(
                [run[whose]["through"][mark] - run[whose]["direct"][mark] for run in raw["latency"]], 0.5
            )
            for mark in ("p50", "p99")
        }
        for whose in ("own", "shared")
    }
    beside = " and ".join(f"{added['shared'][mark]:.2f}" for mark in ("p50", "p99"))
    failed = sum(len(run["failed"]) for run in raw["killed"])
    asked = sum(run["asked"] for run in raw["killed"])
    out, most = max(run["out"] for run in raw["lag"]), 2 * block_time + 2
    backwards = max(run["backwards"] for run in raw["lag"])
    rows = [
        ("requests/s, of a plain pass-through", f"{share:.2f}", ">= 0.85", share >= 0.85),
        ("requests/s, of one with the same retries", f"{alike:.2f}", ">= 0.85", alike >= 0.85),
        ("added at 2000/s, p50", f"{added['own']['p50']:.2f} ms", "< 0.3", added["own"]["p50"] < 0.3),
        ("added at 2000/s, p99", f"{added['own']['p99']:.2f} ms", "< 1.5", added["own"]["p99"] < 1.5),
        ("both, processors shared with the whole lab", f"{beside} ms", "", True),
        ("nodes killed: failed reads", f"{failed} of {asked}", "0", failed == 0),
        ("frozen head out of rotation", f"worst {out:.1f} s", f"< {most:g}", out < most),
        ("head seen backwards, blocks", str(backwards), "<= 3", backwards <= 3),
    ]
    shown = [(what, found, target + ("" if held else ": missed")) for what, found, target, held in rows]
    return shown, not all(held for *_, held in rows)
