"""One drill: look who does what, put load on, break it, heal it, and compare what was promised with what is there."""

import contextlib
import ipaddress
import json
import math
import os
import random
import secrets
import subprocess
import sys
import time
from pathlib import Path

import fanatico_client as client
import fanatico_measure as measure
import fanatico_plan
from lab import health, network
from lab import plan as plans
from lab.drill import phases
from lab.errors import LabError
from lab.machine import ENVIRONMENT
from lab.paths import REPO
from lab.shell import run

HERE = Path(__file__).parent
CLIENT = REPO / "_utils" / "fanatico_client.py"
BEFORE, AFTER = (
    3.0,
    3.0,
)  # seconds of load before the fault, and after it was healed and a write was acknowledged
LONGEST = 7200  # seconds, should nobody tell the client to end
RATE = client.rate()
# What stands for a host of its own is not to wait for a core while the lab's machines have them all.
AHEAD = ("nice", "-n", "-15")


class Scene:
    """Who had which part in the lab when a run began, and the hands that faults work with."""

    def __init__(self, lab, password):
        self.lab, self.password = lab, password
        self.switch = network.switch(lab.name)
        self.databases = lab.nodes("patroni")
        self.noted = {}  # what steps found out on the way
        self.patient = None  # the client that waits, where there is one
        self.look()

    def look(self):
        """Find out who has which part now."""
        lab, etcd = self.lab, self.lab.nodes("etcd")
        self.leader = leader(lab)
        members = lab.salt(etcd[0], "fanatico_etcd.status")[etcd[0]]
        leading = {one.get("leader_id") for one in members.values()}
        (etcd_leader,) = (node for node, one in members.items() if one.get("member_id") in leading)
        # Whom a fault strikes; afterwards others may have these parts.
        self.struck = parts(lab.plan["nodes"], lab.master, self.leader, etcd_leader, lab.virtual_ip_holders())

    def address(self, node):
        """Return a node's address."""
        return self.lab.plan["nodes"][node]["address"]

    def each(self, part, *argv):
        """Run a command on all that have a part."""
        for node in self.struck[part]:
            self.lab.exec(node, list(argv))

    def rules(self, text):
        """Load nftables rules on the switch, with the program that the machines have."""
        root = self.lab.root(self.lab.master)
        run(["ip", "netns", "exec", self.switch, "chroot", root, "/usr/sbin/nft", "-f", "-"], text_input=text)

    def qdisc(self, node, verb, *words):
        """Change how fast a node's cable carries what goes to it, on the switch's side."""
        run(["ip", "netns", "exec", self.switch, "tc", "qdisc", verb, "dev", node, *words])


def parts(nodes, master, leader, etcd_leader, holders):
    """Return ``{part: [node, ...]}``: all that faults know hosts by.

    nodes
        Those of the plan.
    master, leader, etcd_leader, holders
        Who is Salt's master, leads Patroni, leads etcd, and holds the virtual IP.
    """
    databases, etcd, balancers = (
        fanatico_plan.nodes({"nodes": nodes}, role) for role in ("patroni", "etcd", "haproxy")
    )
    replicas = [node for node in databases if node != leader]
    followers = [node for node in etcd if node != etcd_leader]
    return {
        "leader": [leader],
        "leaders": list(dict.fromkeys([leader, etcd_leader])),  # of both; one host may have both parts
        "replica": replicas[:1],
        "replicas": replicas,
        "databases": databases,
        "etcd_leader": [etcd_leader],
        "etcd_follower": followers[:1],
        "etcd_followers": followers,
        "etcd_majority": etcd[: len(etcd) // 2 + 1],
        "etcd": etcd,
        "holder": holders,
        "spare": [node for node in balancers if node not in holders],
        "balancers": balancers,
        "master": [master],
        "nodes": [node for node in nodes if node != master],
        "all": list(nodes),
    }


def password(lab):
    """Return what the client logs in with."""
    node = lab.nodes("patroni")[0]
    return lab.pillars(node)[node]["secrets"]["POSTGRES_FANATICO_PASSWORD"]


def leader(lab):
    """Return the database node that takes writes; raises LabError where none does, or two."""
    asked = "SELECT NOT pg_is_in_recovery()"
    leading = [node for node in lab.nodes("patroni") if lab.sql(node, asked).strip() == "t"]
    if len(leading) != 1:
        raise LabError(f"{' and '.join(leading) or 'No database'} leads: look with `patronictl list`.")
    return leading[0]


def drill(scene, fault, folder, progress, loop_wait, rng=random):
    """
    Run one fault once on a healthy lab and return its record; raw lines are kept under ``folder``.

    loop_wait
        Patroni's, in seconds.

    Raises LabError where the lab is not healthy again afterwards.
    """
    lab = scene.lab
    folder.mkdir(parents=True)
    progress(f"{scene.leader} leads, {' and '.join(scene.struck['holder'])} holds the virtual IP")
    name = f"{folder.name}-{secrets.token_hex(3)}"  # one that was broken off may have left rows behind
    written = history(lab).stat().st_size if history(lab).exists() else 0
    with contextlib.ExitStack() as stack:
        if fault.restore:
            stack.callback(fault.restore, scene)
        probes = [Probe(lab.machine(node), folder) for node in scene.databases]
        for probe in probes:
            stack.callback(probe.stop)
        try:
            if fault.prepare:
                fault.prepare(scene)
            load = stack.enter_context(loading(scene, name, folder))
            # A lease has any age when a fault strikes.
            sleep_until(load.start + BEFORE + rng.uniform(0, loop_wait * 2))
            struck = time.monotonic()
            fault.strike(scene)
            progress("struck")
            time.sleep(fault.hold)
        finally:  # whatever else fails, nothing stays broken
            begun = time.monotonic()
            if fault.heal:
                fault.heal(scene)
                progress("healed")
            healed = time.monotonic()
        for probe in probes:
            probe.revive()
        load.wait_written(healed)
        sleep_until(time.monotonic() + AFTER)
        load.stop()
    health.wait(lab)
    whole, now_leading = time.monotonic(), leader(lab)
    figures = measured(scene, load, probes, struck, name)
    lab.sql(now_leading, f"DELETE FROM drill_ledger WHERE run = '{name}'", "fanatico")
    return {
        "run": name,
        "parts": scene.struck,
        "leader_after": now_leading,
        "failover": now_leading != scene.leader,
        "etcd_leader_with_primary": scene.leader in scene.struck["etcd_leader"],
        "to_full_redundancy": whole - begun,
        "at": {"start": load.start, "struck": struck, "healed": healed},
        "phases": phases.marks(journals(lab, struck), struck, whole),
        "cures": cures(lab, written),
        "noted": scene.noted,
        **figures,
    }


def measured(scene, load, probes, struck, name):
    """Return what the client and the probes saw, and what the databases hold of it, as ``fanatico_measure.run`` judges it."""
    answers = [answer for probe in probes for answer in probe.answers()]
    held = [ledger(scene.lab, node, name) for node in scene.databases]
    return measure.run(load.lines(), answers, struck, min(held, key=len), RATE)


def journals(lab, since):
    """Return what the machines' units have said since a time of the monotonic clock, as ``phases.entry`` does."""
    seconds = round(time.monotonic() - since) + 1
    units = [word for unit in ("patroni", "etcd", "haproxy", "keepalived") for word in ("-u", unit)]
    fields = "--output-fields=MESSAGE,_SYSTEMD_UNIT,__MONOTONIC_TIMESTAMP"
    argv = ["journalctl", "-q", "--no-pager", "-o", "json", fields, f"--since=-{seconds}", *units]
    return [
        phases.entry(node, json.loads(line))
        for role in ("patroni", "etcd", "haproxy")
        for node in lab.nodes(role)
        for line in lab.exec(node, argv).stdout.splitlines()
    ]


def history(lab):
    """Return the file that the master writes its decisions to."""
    return lab.root(lab.master) / "var/log/fanatico/history.jsonl"


def cures(lab, written):
    """Return what the master has healed, or tried to, since its history was so many bytes long."""
    path = history(lab)
    lines = path.read_bytes()[written:].splitlines() if path.exists() else []
    entries = [
        one for one in map(json.loads, lines) if one["kind"] == "heal" and one["decision"] != "refused"
    ]
    return [f"{one['decision']}: {one['what']} on {one['host']}, {one['reason']}" for one in entries]


def ledger(lab, node, name):
    """Return the [(worker, seq)] that a node holds of a run."""
    rows = lab.sql(
        node, f"SELECT worker, seq FROM drill_ledger WHERE run = '{name}'", "fanatico"
    ).splitlines()
    return [tuple(int(part) for part in row.split("|")) for row in rows]


def complaints(fault, record):
    """Return what of a run was not as it must be, one sentence each."""
    found = []
    if math.isinf(record["write_gap"]):
        found.append("no write was acknowledged again")
    elif record["write_gap"] > fault.write_gap:
        found.append(f"no write for {record['write_gap']:.2f} s, at most {fault.write_gap} s were allowed")
    for key in ("lost", "duplicate", "nowhere"):
        if record[key]:
            found.append(f"{record[key]} writes {key}")
    if record["two_writable"] > 0:
        found.append(f"two nodes took writes for {record['two_writable']:.2f} s")
    if fault.waited is not None and record["noted"].get("waited", math.inf) > fault.waited:
        seconds = record["noted"].get("waited", "nobody knows how many")
        found.append(f"a session waited {seconds} s, at most {fault.waited} s were allowed")
    if fault.untouched:
        found += [f"nothing was to be healed, and was: {one}" for one in record["cures"]]
    if fault.failover is not None and record["failover"] != fault.failover:
        found.append(
            f"{record['leader_after']} leads now, "
            + ("as before" if fault.failover else "which was not to change")
        )
    return found


def sleep_until(when):
    """Wait for a time of the monotonic clock."""
    time.sleep(max(0.0, when - time.monotonic()))


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


class Load:
    """The client, on a host of its own."""

    def __init__(self, process, path):
        self.process, self.path = process, path
        said = process.stdout.readline()
        if not said:
            raise LabError(f"The client did not start: {process.stderr.read()[-1000:]}")
        self.start = json.loads(said)["start"]

    def lines(self):
        """Return all that it was told."""
        whole = self.path.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def newest(self, size=2**18):
        """Return what it was told last, as far as that fits into so many bytes."""
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - size))
            whole = file.read().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.splitlines()[1:]]

    def wait_written(self, after):
        """Wait until a write was acknowledged after a time of the monotonic clock, or for as long as that may take."""
        deadline = time.monotonic() + health.WITHIN
        while time.monotonic() < deadline:
            for line in reversed(self.newest()):
                if line["kind"] == "write" and line["outcome"] == "ok" and line["done"] > after:
                    return
            time.sleep(1)

    def stop(self):
        """Let it end its attempts, and wait for it."""
        self.process.stdin.close()
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired as exc:
            raise LabError(
                "The client is a minute behind its schedule: this machine is too busy for a drill."
            ) from exc
        if code:
            raise LabError(f"The client failed: {self.process.stderr.read()[-1000:]}")


@contextlib.contextmanager
def loading(scene, name, folder, program=CLIENT):
    """Run the client, or another one, on a host of its own and yield a Load."""
    lab = scene.lab
    authority, told = folder / "ca.crt", folder / "client.jsonl"
    authority.write_text(lab.exec(scene.databases[0], ["cat", "/etc/patroni/pki/service-ca.crt"]).stdout)
    address = free_address(lab.plan)
    network.detach(lab.name, "client")
    network.attach(lab.name, lab.plan, "client", address)
    space = network.namespace(lab.name, "client")
    ports = [lab.plan["ports"][port] for port in ("postgres_primary", "postgres_replica")]
    words = [lab.plan["virtual_ip"]["address"], *ports, authority, LONGEST, name, told]
    process = subprocess.Popen(
        [*AHEAD, "ip", "netns", "exec", space, sys.executable, program, *map(str, words)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(CLIENT.parent)},
    )  # fmt: skip
    try:
        process.stdin.write(scene.password + "\n")
        process.stdin.flush()
        yield Load(process, told)
    finally:
        process.kill()
        process.wait()
        network.detach(lab.name, "client")


def free_address(plan):
    """Return the last address of the virtual IP's network that nobody has."""
    taken = {node["address"] for node in plan["nodes"].values()} | {plan["virtual_ip"]["address"]}
    _, interface = plans.network_for(plan, plan["virtual_ip"]["address"])
    hosts = reversed(list(ipaddress.ip_interface(interface).network.hosts()))
    return next(str(host) for host in hosts if str(host) not in taken)
