"""One run of a drill: find the roles, start the load, inject the fault, revert it, and check what clients and databases saw."""

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
)  # seconds of load before the fault, and after it was reverted and a write was acknowledged
LONGEST = 7200  # seconds after which the client ends by itself
RATE = client.rate()
# The client represents a separate host: it must not wait for a core while the lab's machines use all of them.
AHEAD = ("nice", "-n", "-15")


class Scene:
    """The hosts' parts at the start of a run (leader, holder, ...), and the operations that steps use."""

    def __init__(self, lab, password):
        self.lab, self.password = lab, password
        self.switch = network.switch(lab.name)
        self.databases = lab.nodes("patroni")
        self.noted = {}  # what steps have measured
        self.patient = None  # the process of step ``patient``
        self.look()

    def look(self):
        """Find the present parts of the hosts."""
        lab, etcd = self.lab, self.lab.nodes("etcd")
        self.leader = leader(lab)
        members = lab.salt(etcd[0], "fanatico_etcd.status")[etcd[0]]
        leading = {member.get("leader_id") for member in members.values()}
        (etcd_leader,) = (node for node, member in members.items() if member.get("member_id") in leading)
        # The hosts that a fault strikes; afterwards other hosts may have these parts.
        self.struck = parts(lab.plan["nodes"], lab.master, self.leader, etcd_leader, lab.virtual_ip_holders())

    def address(self, node):
        """Return a node's address."""
        return self.lab.plan["nodes"][node]["address"]

    def each(self, part, *argv):
        """Run a command on every host that has a part."""
        for node in self.struck[part]:
            self.lab.exec(node, list(argv))

    def rules(self, text):
        """Load nftables rules on the switch, with the nft program of a machine."""
        root = self.lab.root(self.lab.master)
        run(["ip", "netns", "exec", self.switch, "chroot", root, "/usr/sbin/nft", "-f", "-"], text_input=text)

    def qdisc(self, node, verb, *words):
        """Change the queueing discipline of a node's cable at the switch, for packets to the node."""
        run(["ip", "netns", "exec", self.switch, "tc", "qdisc", verb, "dev", node, *words])


def parts(nodes, master, leader, etcd_leader, holders):
    """Return ``{part: [node, ...]}`` for every part that a fault can name.

    nodes
        ``nodes`` of the plan.
    master, leader, etcd_leader, holders
        The Salt master, Patroni's leader, the etcd leader, and the holders of the virtual IP.
    """
    databases, etcd, balancers, backups = (
        fanatico_plan.nodes({"nodes": nodes}, role) for role in ("patroni", "etcd", "haproxy", "backup")
    )
    replicas = [node for node in databases if node != leader]
    followers = [node for node in etcd if node != etcd_leader]
    return {
        "leader": [leader],
        "leaders": list(dict.fromkeys([leader, etcd_leader])),  # one host may be both
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
        "backups": backups,
        "master": [master],
        "nodes": [node for node in nodes if node != master],
        "all": list(nodes),
    }


def password(lab):
    """Return the password of the application's database role."""
    node = lab.nodes("patroni")[0]
    return lab.pillars(node)[node]["secrets"]["POSTGRES_FANATICO_PASSWORD"]


def leader(lab):
    """Return the database node that is not in recovery. Raises LabError when there is none, or more than one."""
    asked = "SELECT NOT pg_is_in_recovery()"
    leading = [node for node in lab.nodes("patroni") if lab.sql(node, asked).strip() == "t"]
    if len(leading) != 1:
        found = f"several leaders: {', '.join(leading)}" if leading else "no leader"
        raise LabError(
            f"The databases have {found}. Check: sudo ./fanatico exec{lab.option()} {lab.master} -- salt-run fanatico.status"
        )
    return leading[0]


def drill(scene, fault, folder, progress, loop_wait, rng=random):
    """
    Run one fault once on a healthy lab and return its record; the raw data is written to ``folder``.

    loop_wait
        Patroni's setting, in seconds.

    Raises LabError when the lab is not healthy afterwards.
    """
    lab = scene.lab
    folder.mkdir(parents=True)
    progress(f"{scene.leader} leads, {' and '.join(scene.struck['holder'])} holds the virtual IP")
    name = f"{folder.name}-{secrets.token_hex(3)}"  # unique: an interrupted run may have left rows
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
            # The age of the lease is random when the fault strikes.
            sleep_until(load.start + BEFORE + rng.uniform(0, loop_wait * 2))
            struck = time.monotonic()
            fault.strike(scene)
            progress("fault injected")
            time.sleep(fault.hold)
        finally:  # revert the fault, whatever has failed
            begun = time.monotonic()
            if fault.heal:
                fault.heal(scene)
                progress("fault reverted")
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
        **healing(lab, written),
        "noted": scene.noted,
        **figures,
    }


def measured(scene, load, probes, struck, name):
    """Return the figures of ``fanatico_measure.run``, from the client, the probes and the rows in the databases."""
    answers = [answer for probe in probes for answer in probe.answers()]
    held = [ledger(scene.lab, node, name) for node in scene.databases]
    return measure.run(load.lines(), answers, struck, min(held, key=len), RATE)


def journals(lab, since):
    """Return the journal entries of the machines' units since a time of the monotonic clock, as ``phases.entry`` does."""
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
    """Return the path of the master's history."""
    return lab.root(lab.master) / "var/log/fanatico/history.jsonl"


def healing(lab, written):
    """
    Return what healing did, from the master's history after byte ``written``; refusals are left out.

    Returns ``{"cures": [one text each], "removed": [{"host", "what", "why", "removed": bytes}, ...]}``; ``removed`` has the cures
    that deleted data which they had replaced.
    """
    path = history(lab)
    lines = path.read_bytes()[written:].splitlines() if path.exists() else []
    entries = [
        entry
        for entry in map(json.loads, lines)
        if entry["kind"] == "heal" and entry["decision"] != "refused"
    ]
    return {
        "cures": [
            f"{entry['decision']}: {entry['what']} on {entry['host']}, {entry['reason']}" for entry in entries
        ],
        "removed": [
            {key: entry[key] for key in ("host", "what", "why", "removed")}
            for entry in entries
            if entry.get("removed")
        ],
    }


def ledger(lab, node, name):
    """Return the rows of a run on a node, ``[(worker, seq), ...]``."""
    rows = lab.sql(
        node, f"SELECT worker, seq FROM drill_ledger WHERE run = '{name}'", "fanatico"
    ).splitlines()
    return [tuple(int(part) for part in row.split("|")) for row in rows]


def violations(fault, record):
    """Return the reasons why a run has failed, ``[(code, text), ...]``; empty for a good run.

    Codes: ``no_write`` (none after the fault), ``write_gap`` (too long), ``lost``, ``duplicate``, ``nowhere``, ``split_brain``,
    ``waited``, ``cure``, ``removed``, ``failover``.
    """
    found = []
    if math.isinf(record["write_gap"]):
        found.append(("no_write", "no write was acknowledged after the fault"))
    elif record["write_gap"] > fault.write_gap:
        text = f"no write for {record['write_gap']:.2f} s, limit {fault.write_gap} s"
        found.append(("write_gap", text))
    found += [(key, f"{record[key]} writes {key}") for key in ("lost", "duplicate", "nowhere") if record[key]]
    if record["two_writable"] > 0:
        text = f"SPLIT-BRAIN: two nodes accepted writes for {record['two_writable']:.2f} s"
        found.append(("split_brain", text))
    if fault.waited is not None and record["noted"].get("waited", math.inf) > fault.waited:
        seconds = record["noted"].get("waited", "an unknown number of")
        found.append(("waited", f"a session waited {seconds} s, limit {fault.waited} s"))
    if fault.untouched:
        found += [("cure", f"healing acted, although nothing was broken: {cure}") for cure in record["cures"]]
    if not fault.destroys:
        found += [
            ("removed", f"{entry['host']}: {entry['what']} deleted {entry['removed']} bytes: {entry['why']}")
            for entry in record["removed"]
        ]
    if fault.failover is not None and record["failover"] != fault.failover:
        outcome = "no failover, expected one" if fault.failover else "failover, expected none"
        found.append(("failover", f"{record['leader_after']} leads: {outcome}"))
    return found


def sleep_until(when):
    """Sleep until a time of the monotonic clock."""
    time.sleep(max(0.0, when - time.monotonic()))


class Probe:
    """Runs probe.py on a database machine: does it accept writes?"""

    def __init__(self, machine, folder):
        self.machine = machine
        self.path = folder / f"probe-{machine.name}.jsonl"
        self.start()

    def start(self):
        """Start the program; its output is appended to the file."""
        program = (HERE / "probe.py").read_text()
        with self.path.open("a") as out:
            self.process = subprocess.Popen(
                self.machine.exec_argv(["/opt/salt/bin/python", "-c", program, self.machine.name]),
                stdin=subprocess.PIPE, stdout=out, stderr=subprocess.DEVNULL, env=ENVIRONMENT,
            )  # fmt: skip

    def revive(self):
        """Start the program again if it has ended, for example with its machine's power."""
        if self.process.poll() is not None:
            self.start()

    def stop(self):
        """Stop the program."""
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(10)

    def answers(self):
        """Return the program's answers, without a line that a power cut has truncated."""
        return [json.loads(line) for line in self.path.read_text().splitlines() if line.endswith("}")]


class Load:
    """The client process, on a separate host."""

    def __init__(self, process, path):
        self.process, self.path = process, path
        first = process.stdout.readline()
        if not first:
            raise LabError(f"The client did not start: {process.stderr.read()[-1000:]}")
        self.start = json.loads(first)["start"]

    def lines(self):
        """Return all attempts of the client."""
        whole = self.path.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def newest(self, size=2**18):
        """Return the client's last attempts, from the last ``size`` bytes of its output."""
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - size))
            whole = file.read().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole.splitlines()[1:]]

    def wait_written(self, after):
        """Wait until a write was acknowledged after a time of the monotonic clock, at most ``health.WITHIN`` seconds."""
        deadline = time.monotonic() + health.WITHIN
        while time.monotonic() < deadline:
            for line in reversed(self.newest()):
                if line["kind"] == "write" and line["outcome"] == "ok" and line["done"] > after:
                    return
            time.sleep(1)

    def stop(self):
        """Stop the client and wait until its last attempts have ended. Raises LabError when it has failed or is late."""
        self.process.stdin.close()
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired as exc:
            raise LabError(
                "The client did not end within 60 s: this machine is too busy for a drill. Stop other work and retry."
            ) from exc
        if code:
            raise LabError(f"The client failed with exit code {code}: {self.process.stderr.read()[-1000:]}")


@contextlib.contextmanager
def loading(scene, name, folder, program=CLIENT):
    """Run the client, or another program with the same arguments, on a separate host; yields a Load."""
    lab = scene.lab
    authority, out = folder / "ca.crt", folder / "client.jsonl"
    authority.write_text(lab.exec(scene.databases[0], ["cat", "/etc/patroni/pki/service-ca.crt"]).stdout)
    address = free_address(lab.plan)
    network.detach(lab.name, "client")
    network.attach(lab.name, lab.plan, "client", address)
    space = network.namespace(lab.name, "client")
    ports = [lab.plan["ports"][port] for port in ("postgres_primary", "postgres_replica")]
    words = [lab.plan["virtual_ip"]["address"], *ports, authority, LONGEST, name, out]
    process = subprocess.Popen(
        [*AHEAD, "ip", "netns", "exec", space, sys.executable, program, *map(str, words)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(CLIENT.parent)},
    )  # fmt: skip
    try:
        process.stdin.write(scene.password + "\n")
        process.stdin.flush()
        yield Load(process, out)
    finally:
        process.kill()
        process.wait()
        network.detach(lab.name, "client")


def free_address(plan):
    """Return the last free address of the virtual IP's network."""
    taken = {node["address"] for node in plan["nodes"].values()} | {plan["virtual_ip"]["address"]}
    _, interface = plans.network_for(plan, plan["virtual_ip"]["address"])
    hosts = reversed(list(ipaddress.ip_interface(interface).network.hosts()))
    return next(str(host) for host in hosts if str(host) not in taken)
