"""One drill: look who does what, put load on, break it, heal it, and compare what was promised with what is there."""

import contextlib
import ipaddress
import json
import random
import subprocess
import sys
import time
from pathlib import Path

from lab import network
from lab import plan as plans
from lab.drill import client, measure
from lab.errors import LabError
from lab.machine import ENVIRONMENT

HERE = Path(__file__).parent
BEFORE, AFTER = 5.0, 10.0  # seconds of load before the fault, and after it was healed
HEALTHY_WITHIN = 180
RATE = client.WRITERS * client.WRITES_A_SECOND


class Scene:
    """Who had which part in the lab when a run began, and the hands that faults work with."""

    def __init__(self, lab):
        self.lab = lab
        self.switch = network.switch(lab.name)
        self.databases, etcd = (lab.nodes(role) for role in ("patroni", "etcd"))
        self.leader = next(iter(lab.salt(self.databases[0], "fanatico_patroni.leader").values()))
        members = lab.salt(etcd[0], "fanatico_etcd.status")[etcd[0]]
        leading = {one.get("leader_id") for one in members.values()}
        # Whom a fault strikes; afterwards others may have these parts.
        self.struck = {
            "leader": [self.leader],
            "replica": [node for node in self.databases if node != self.leader][:1],
            "etcd_leader": [node for node, one in members.items() if one.get("member_id") in leading],
            "etcd_majority": etcd[: len(etcd) // 2 + 1],
            "etcd": etcd,
            "holder": lab.virtual_ip_holders(),
        }

    def address(self, node):
        """Return a node's address."""
        return self.lab.plan["nodes"][node]["address"]

    def each(self, part, *argv):
        """Run a command on all that have a part."""
        for node in self.struck[part]:
            self.lab.exec(node, list(argv))


def drill(lab, fault, folder, progress, rng=random):
    """
    Run one fault once and return its record; raw lines are kept under ``folder``.

    Raises LabError where the lab is not healthy before, or not again afterwards.
    """
    folder.mkdir(parents=True)
    progress("waiting for everything to be healthy")
    wait_healthy(lab)
    scene = Scene(lab)
    timing = lab.plan["timing"]["patroni"]
    pause = rng.uniform(0, timing["loop_wait"] * 2)  # a lease has any age when a fault strikes
    total = BEFORE + pause + fault.hold + AFTER
    parts = {name: " ".join(nodes) for name, nodes in scene.struck.items()}
    progress(f"{parts['leader']} leads, {parts['holder']} holds the virtual address; load for {total:.0f} s")
    name = folder.name
    with contextlib.ExitStack() as stack:
        probes = [Probe(lab.machine(node), folder) for node in scene.databases]
        for probe in probes:
            stack.callback(probe.stop)
        span = stack.enter_context(loading(scene, total, name, folder))
        sleep_until(span["start"] + BEFORE + pause)
        struck = time.monotonic()
        try:
            fault.strike(scene)
            progress("struck")
            sleep_until(struck + fault.hold)
        finally:  # whatever else fails, nothing stays broken
            healed = time.monotonic()
            if fault.heal:
                fault.heal(scene)
                progress("healed")
        for probe in probes:
            probe.revive()
        sleep_until(span["end"])
    wait_healthy(lab)
    whole = time.monotonic()
    after = Scene(lab)
    lines = [json.loads(line) for line in (folder / "client.jsonl").read_text().splitlines()]
    answers = [answer for probe in probes for answer in probe.answers()]
    held = [ledger(lab, node, name) for node in after.databases]
    figures = measure.run(lines, answers, struck, min(held, key=len), RATE)
    lab.sql(after.leader, f"DELETE FROM drill_ledger WHERE run = '{name}'", "fanatico")
    return {
        "run": name,
        "parts": scene.struck,
        "leader_after": after.leader,
        "failover": after.leader != scene.leader,
        "etcd_leader_with_primary": scene.leader in scene.struck["etcd_leader"],
        "to_full_redundancy": whole - healed,
        "at": {"start": span["start"], "struck": struck, "healed": healed, "end": span["end"]},
        **figures,
    }


def ledger(lab, node, name):
    """Return the [(worker, seq)] that a node holds of a run."""
    rows = lab.sql(
        node, f"SELECT worker, seq FROM drill_ledger WHERE run = '{name}'", "fanatico"
    ).splitlines()
    return [tuple(int(part) for part in row.split("|")) for row in rows]


def complaints(fault, record):
    """Return what of a run was not as it must be, one sentence each."""
    found = []
    if record["write_gap"] > fault.write_gap:
        found.append(f"no write for {record['write_gap']:.2f} s, at most {fault.write_gap} s were allowed")
    for key in ("lost", "duplicate", "nowhere"):
        if record[key]:
            found.append(f"{record[key]} writes {key}")
    if record["two_writable"] > 0:
        found.append(f"two nodes took writes for {record['two_writable']:.2f} s")
    if fault.failover is not None and record["failover"] != fault.failover:
        found.append(
            f"{record['leader_after']} leads now, "
            + ("as before" if fault.failover else "which was not to change")
        )
    return found


def sleep_until(when):
    """Wait for a time of the monotonic clock."""
    time.sleep(max(0.0, when - time.monotonic()))


def wait_healthy(lab, timeout=HEALTHY_WITHIN):
    """Wait until every node of the plan answers and is ok."""
    deadline = time.monotonic() + timeout
    while True:
        answers = lab.salt("*", "fanatico.health")
        ok = {
            name for name, answer in answers.items() if isinstance(answer, dict) and answer["status"] == "ok"
        }
        ailing = [name for name in lab.plan["nodes"] if name not in ok]
        if not ailing:
            return
        if time.monotonic() > deadline:
            raise LabError(
                f"Not healthy within {timeout} s: {', '.join(ailing)}. "
                f"Look with `./fanatico exec {lab.master} -- salt-run fanatico.status`."
            )
        time.sleep(1)


class Probe:
    """Asks a database node all the while whether it takes writes, from within."""

    def __init__(self, machine, folder):
        self.machine = machine
        self.path = folder / f"probe-{machine.name}.jsonl"
        self.start()

    def start(self):
        """Begin, or begin again where the machine lost its power."""
        program = (HERE / "probe.py").read_text()
        with self.path.open("a") as out:
            self.process = subprocess.Popen(
                self.machine.exec_argv(["/opt/salt/bin/python", "-c", program, self.machine.name]),
                stdin=subprocess.PIPE, stdout=out, stderr=subprocess.DEVNULL, env=ENVIRONMENT,
            )  # fmt: skip

    def revive(self):
        """Begin again where it has ended."""
        if self.process.poll() is not None:
            self.start()

    def stop(self):
        """End it."""
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(10)

    def answers(self):
        """Return what it was told; a line that a power cut broke off does not count."""
        return [json.loads(line) for line in self.path.read_text().splitlines() if line.endswith("}")]


@contextlib.contextmanager
def loading(scene, seconds, name, folder):
    """Run the client on a host of its own; yield when it starts and ends, and wait for it."""
    lab = scene.lab
    password = lab.pillars(scene.databases[0])[scene.databases[0]]["secrets"]["POSTGRES_FANATICO_PASSWORD"]
    authority = folder / "ca.crt"
    authority.write_text(lab.exec(scene.databases[0], ["cat", "/etc/patroni/pki/service-ca.crt"]).stdout)
    address = free_address(lab.plan)
    network.detach(lab.name, "client")
    network.attach(lab.name, lab.plan, "client", address)
    space = network.namespace(lab.name, "client")
    words = [lab.plan["virtual_ip"]["address"], authority, seconds, name, folder / "client.jsonl"]
    process = subprocess.Popen(
        ["ip", "netns", "exec", space, sys.executable, HERE / "client.py", *map(str, words)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        process.stdin.write(password + "\n")
        process.stdin.flush()
        said = process.stdout.readline()
        if not said:
            raise LabError(f"The client did not start: {process.stderr.read()[-1000:]}")
        yield json.loads(said)
        if process.wait(30):
            raise LabError(f"The client failed: {process.stderr.read()[-1000:]}")
    finally:
        process.kill()
        process.wait()
        network.detach(lab.name, "client")


def free_address(plan):
    """Return the last address of the virtual address's network that nobody has."""
    taken = {node["address"] for node in plan["nodes"].values()} | {plan["virtual_ip"]["address"]}
    _, interface = plans.network_for(plan, plan["virtual_ip"]["address"])
    hosts = reversed(list(ipaddress.ip_interface(interface).network.hosts()))
    return next(str(host) for host in hosts if str(host) not in taken)
