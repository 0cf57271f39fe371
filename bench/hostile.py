"""Measure what a compromised host can do to the Salt master with events, returns and pillar requests: `./fanatico bench hostile`.

One host of a healthy lab sends thousands of different hostile messages through Salt's client. At the same time real faults happen
on other hosts, one after the other, and each must be healed as fast as without the attack. Raw numbers are saved in
bench/results/.
"""

import argparse
import json
import random
import re
import subprocess
import threading
import time
from pathlib import Path

import fanatico_measure as measure
from bench import cures, outcome
from lab import health, preflight
from lab.errors import LabError
from lab.machine import ENVIRONMENT
from lab.machines import Lab

SENDER = (Path(__file__).parent / "files" / "send_loads.py").read_text()
LOST = "rpc1"  # the compromised host
OWNED = "/root/owned"  # a file that exists on the master if it has executed an injected command
UNIT = "fanatico-rpc-ws"  # stopped on other hosts
WITHIN, EVERY = 8, 15  # limit of a cure in seconds; seconds between two real faults
GROWS = 1.5  # limit of the master's memory, as a multiple of that before the attack
# Jobs that the tree itself starts outside of a deploy.
OURS = re.compile(
    r"fanatico[a-z_]*\.[a-z_]+|saltutil\.(find_job|running|refresh_\w+|is_running)|test\.ping|runner\.(fanatico|jobs)\.\w+|mine\.\w+"
)

INJECTIONS = (
    "x:\n  cmd.run:\n    - name: touch {owned}\nCure y",
    "{{{{ salt['cmd.run']('touch {owned}') }}}}",
    "{{% do salt['cmd.run']('touch {owned}') %}}",
    "!!python/object/apply:os.system ['touch {owned}']",
    "$(touch {owned})",
    "`touch {owned}`",
    "'; touch {owned}; '",
    "../../../../root/owned",
    "\x1b[2J\x1b[31m",
    "\x00\x01\x02",
    "\u202e\ufeff\ud7ff",
    "%s%n{{}}[]!&*",
)


def text(draw):
    """Return a hostile text: an injection, random characters, or a very long text."""
    kind = draw.random()
    if kind < 0.5:
        return draw.choice(INJECTIONS).format(owned=OWNED)
    if kind < 0.9:
        return "".join(chr(draw.randrange(1, 0xD7FF)) for _ in range(draw.randrange(60)))
    return draw.choice("xA\n\x1b") * draw.randrange(1, 20_000)


def value(draw, names, depth=0):
    """Return a random value: an expected name, a hostile text, or a nested structure."""
    kind = draw.random()
    if kind < 0.45:
        return draw.choice(names)
    if kind < 0.7:
        return text(draw)
    if kind < 0.8:
        return draw.choice([None, True, 0, -1, 2**62, 1e308, ""])
    if depth > 3:
        return []
    if kind < 0.9:
        return [value(draw, names, depth + 1) for _ in range(draw.randrange(4))]
    return {
        str(value(draw, names, depth + 1))[:200]: value(draw, names, depth + 1)
        for _ in range(draw.randrange(4))
    }


def load(draw, names, hosts):
    """Return one message of a minion's client, without the token."""
    kind = draw.random()
    host = draw.choice(hosts) if draw.random() < 0.6 else text(draw)[:100]
    if kind < 0.75:
        tags = (
            f"salt/beacon/{host}/fanatico/{draw.choice(names)}",
            f"salt/minion/{host}/start",
            "salt/auth",
            f"salt/job/20261129000000000000/ret/{host}",
            f"fanatico/{draw.choice(names)}",
            text(draw)[:200],
        )
        data = {"id": host, "what": value(draw, names), "why": value(draw, names), "act": "denied"}
        if draw.random() < 0.2:
            data = {"x": value(draw, names)}
        return {"cmd": "_minion_event", "events": [{"tag": draw.choice(tags), "data": data}]}
    if kind < 0.9:
        return {
            "cmd": "_return",
            "jid": f"20261129{draw.randrange(10**12):012d}",
            "fun": draw.choice(["fanatico_cure.found", "test.ping", "state.apply", text(draw)[:50]]),
            "return": {LOST: value(draw, names), **{text(draw)[:100]: value(draw, names)}},
            "retcode": draw.choice([0, 1, None]),
            "success": True,
        }
    return {
        "cmd": "_pillar",
        "saltenv": draw.choice(["base", None, text(draw)[:50]]),
        "pillarenv": None,
        "grains": {"id": host, "roles": value(draw, names), "os": text(draw)[:100]},
        "pillar_override": {draw.choice(names): value(draw, names)},
        "ver": "2",
    }


def loads(count, seed, plan):
    """Return ``count`` messages; the same seed gives the same messages."""
    draw = random.Random(seed)
    hosts = list(plan["nodes"])
    names = [
        "unprovisioned", "drift", "replica-unusable", "vip-duplicate", "etcd-full", "rpc-hung", "disk-full", "key-denied",
        "patroni.service", "etcd.service", "haproxy.service", "haproxy-edge.service", f"{UNIT}.service", "salt-minion.service",
    ]  # fmt: skip
    return [load(draw, names, hosts) for _ in range(count)]


class Master:
    """Watches the Salt master's memory and jobs during the attack."""

    def __init__(self, lab):
        self.lab, self.memory, self._over = lab, [], threading.Event()
        self.since, self._known = f"@{time.time():.0f}", set(self._jobs())
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self._over.is_set():
            self.memory.append(self._holds())
            self._over.wait(2)

    def _holds(self):
        script = """
            for pid in $(cat /sys/fs/cgroup$(systemctl show -P ControlGroup salt-master)/cgroup.procs)
            do grep -h ^RssAnon /proc/$pid/status; done 2>/dev/null; true
        """
        shown = self.lab.exec(self.lab.master, ["sh", "-c", script]).stdout
        return sum(int(line.split()[1]) for line in shown.splitlines()) / 1024

    def end(self):
        """Stop watching; return ``{"tracebacks": lines, "foreign": unexpected jobs, "owned": bool}``."""
        self._over.set()
        self._thread.join()
        argv = ["journalctl", "-q", "-u", "salt-master", "--since", self.since, "-o", "cat"]
        journal = self.lab.exec(self.lab.master, argv).stdout.splitlines()
        log = self.lab.exec(
            self.lab.master, ["sh", "-c", "cat /var/log/salt/master 2>/dev/null; true"]
        ).stdout
        foreign = [
            f"{jid}: {job.get('Function')}"
            for jid, job in self._jobs().items()
            if jid not in self._known and not OURS.fullmatch(str(job.get("Function")))
        ]
        owned = self.lab.exec(self.lab.master, ["test", "-e", OWNED], check=False).returncode == 0
        return {
            "tracebacks": [line for line in [*journal, *log.splitlines()] if "Traceback" in line],
            "foreign": foreign,
            "owned": owned,
        }

    def _jobs(self):
        return json.loads(self.lab.salt_run("jobs.list_jobs", "--out=json").stdout)


def heal_one(lab, node):
    """Stop a unit; return the seconds until it is healed, or None after the limit of bench/cures.py."""
    lab.exec(
        lab.master, ["rm", "-f", "/var/lib/fanatico/guard.json"]
    )  # earlier cures must not use up the budget
    try:
        return cures.stop(lab, node, UNIT)
    except LabError:
        return None


def judged(counted, took, memory, before, seen):
    """Return ``[(what, measured, target, whether it holds), ...]``."""
    healed = [seconds for seconds in took if seconds is not None]
    worst = max(healed, default=0.0)
    return [
        ("messages taken / refused", f"{counted['taken']} / {counted['refused']}", "", True),
        ("real faults healed", f"{len(healed)} of {len(took)}", "all", len(healed) == len(took)),
        ("p50, worst s", f"{measure.percentile(healed or [0.0], 0.5):.1f}, {worst:.1f}", f"worst {WITHIN}", worst <= WITHIN),
        ("master's memory MiB", f"{before:.0f} -> {max(memory):.0f}", f"x {GROWS}", max(memory) <= GROWS * before),
        ("tracebacks", str(len(seen["tracebacks"])), "0", not seen["tracebacks"]),
        ("unexpected jobs", str(len(seen["foreign"])), "0", not seen["foreign"]),
        ("injected commands executed on the master", "yes" if seen["owned"] else "none", "none", not seen["owned"]),
    ]  # fmt: skip


def main(arguments=None):
    """Run attack and faults, print a table and save the raw numbers. Return 1 if a target is missed."""
    options = argparse.ArgumentParser(prog="./fanatico bench hostile", description=__doc__)
    options.add_argument("--messages", type=int, default=10_000, help="number of messages (default: 10000)")
    options.add_argument("--seed", type=int, default=1, help="random seed of the messages (default: 1)")
    options.add_argument("--name", default="default", help="name of the lab (default: default)")
    chosen = options.parse_args(arguments)
    preflight.check_root()
    lab = Lab(chosen.name)
    with lab.locked():
        lab.require_deployed()
        health.wait(lab)
        nodes = [node for node in lab.nodes("rpc") if node != LOST]
        quiet = heal_one(lab, nodes[0])
        master = Master(lab)
        time.sleep(4)
        before = max(master.memory)
        sender = lab.machine(LOST)
        sender.exec(["sh", "-c", "cat > /run/send_loads.py"], text_input=SENDER)
        argv = sender.exec_argv(["/opt/salt/bin/python", "/run/send_loads.py"])
        begun = time.monotonic()
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
        ) as sending:
            said: list[str] = []
            messages = json.dumps(loads(chosen.messages, chosen.seed, lab.plan))
            thread = threading.Thread(target=lambda: said.append(sending.communicate(messages)[0]))
            thread.start()
            took: list[float | None] = []
            while thread.is_alive():
                took.append(heal_one(lab, nodes[len(took) % len(nodes)]))
                thread.join(EVERY)
        seconds = time.monotonic() - begun
        counted = json.loads(said[0])
        health.wait(lab)
        seen = master.end()
    found = {
        "messages": counted, "seconds": round(seconds, 1), "quiet": quiet, "healed": took,
        "memory MiB": {"before": round(before), "most": round(max(master.memory)), "after": round(master.memory[-1])},
        **seen,
    }  # fmt: skip
    code = outcome.show(judged(counted, took, master.memory, before, seen))
    outcome.keep("hostile", found)
    return code
