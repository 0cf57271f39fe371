"""The steps of faults. A step acts on the hosts that had a part at the start of the run.

A step is a function of the Scene (run.py). Parts are ``leader``, ``replicas``, ``etcd_leader``, ``holder`` (of the virtual
IP) and more, see ``parts`` in run.py.
"""

import json
import time

# A replica reconnects within milliseconds and uses its slot again, so several attempts may be necessary.
DROP_SLOT = """
    DO $$
    DECLARE slot record;
    BEGIN
        SELECT * INTO STRICT slot FROM pg_replication_slots WHERE active LIMIT 1;
        FOR try IN 1..500 LOOP
            BEGIN
                PERFORM pg_terminate_backend(active_pid, 1000) FROM pg_replication_slots
                  WHERE slot_name = slot.slot_name AND active;
                PERFORM pg_drop_replication_slot(slot.slot_name);
                RETURN;
            EXCEPTION WHEN object_in_use THEN NULL;
            END;
        END LOOP;
        RAISE 'the slot % could not be dropped', slot.slot_name;
    END $$
"""
TABLE, BUSY = "fanatico_drill", "fanatico-drill-busy"


def sequence(*steps):
    """Run steps one after the other."""
    return lambda scene: [step(scene) for step in steps]


def wait(seconds):
    """Wait for ``seconds``."""
    return lambda _: time.sleep(seconds)


def shell(part, script):
    """Run a shell script on hosts, as root."""
    return lambda scene: scene.each(part, "sh", "-ec", script)


def signal(part, unit, name, whom="main"):
    """Send a signal to a unit's main process, or to all of its processes."""
    # Not with `systemctl kill`: it would also kill the programs that systemd runs after the unit has ended.
    processes = {
        "main": f"systemctl show -P MainPID {unit}",
        "all": f'cat "/sys/fs/cgroup$(systemctl show -P ControlGroup {unit})/cgroup.procs"',
    }
    return shell(part, f"kill -{name} $({processes[whom]})")


def unit(part, verb, name):
    """Run `systemctl VERB` for a unit on hosts."""
    return shell(part, f"systemctl {verb} {name}")


def postgres(part, name, process="$(head -1 /var/lib/postgresql/*/main/postmaster.pid)"):
    """Send a signal to the postmaster (a child of Patroni, not the main process of a unit), or to another process."""
    return shell(part, f"kill -{name} {process}")


def statement(part, sql, database="postgres"):
    """Run a statement as the operating system's user postgres."""
    return lambda scene: [scene.lab.sql(node, sql, database) for node in scene.struck[part]]


def power(part, on):
    """Cut the power of hosts, or restore it and wait until they have booted."""

    def step(scene):
        for node in scene.struck[part]:
            scene.lab.power_on(node) if on else scene.lab.power_off(node)
        for node in scene.struck[part] if on else ():
            scene.lab.machine(node).wait_booted()

    return step


def shut_down(part):
    """Shut hosts down cleanly."""
    return lambda scene: [scene.lab.machine(node).shut_down() for node in scene.struck[part]]


def cable(part, plugged):
    """Pull the cable of hosts, or plug it back in."""
    return lambda scene: [
        (scene.lab.plug if plugged else scene.lab.unplug)(node) for node in scene.struck[part]
    ]


def pause(part, paused):
    """Freeze or thaw every process of hosts, like a paused virtual machine."""
    return lambda scene: [scene.lab.machine(node).freeze(paused) for node in scene.struck[part]]


def filtered(*rules):
    """Load nftables rules on the switch, for bridged and for routed packets; no machine can undo them there."""

    def step(scene):
        known = {part: ", ".join(map(scene.address, nodes)) for part, nodes in scene.struck.items()}
        body = "\n".join(rule % (known | scene.lab.plan["ports"]) for rule in rules)
        scene.rules(
            "".join(
                f"table {family} {TABLE} {{\nchain cut {{\ntype filter hook forward priority 0\n{body}\n}}\n}}\n"
                for family in ("ip", "bridge")
            )
        )

    return step


def between(part, others, what="drop"):
    """Return rules that drop packets between hosts, in both directions."""
    return (
        f"ip saddr {{ %({part})s }} ip daddr {{ %({others})s }} {what}",
        f"ip saddr {{ %({others})s }} ip daddr {{ %({part})s }} {what}",
    )


def cut(part, others):
    """Drop all packets between hosts."""
    return filtered(*between(part, others))


def lossy(part, percent):
    """Drop a random share of the packets from and to hosts, in percent."""
    dice = f"numgen random mod 100 < {percent} drop"
    return filtered(f"ip saddr {{ %({part})s }} {dice}", f"ip daddr {{ %({part})s }} {dice}")


def mend(scene):
    """Remove the rules that drop packets."""
    scene.rules(
        "".join(f"table {family} {TABLE}\ndelete table {family} {TABLE}\n" for family in ("ip", "bridge"))
    )


def slow(part, rate):
    """Limit the bandwidth of hosts' cables; packets that wait longer than 400 ms are dropped (tc-tbf)."""

    def step(scene):
        for node in scene.struck[part]:
            scene.qdisc(node, "replace", "root", "tbf", "rate", rate, "burst", "16kb", "latency", "400ms")

    return step


def fast(part):
    """Remove the limit of bandwidth."""
    return lambda scene: [scene.qdisc(node, "del", "root") for node in scene.struck[part]]


def busy(part, processes=2, longest=7200):
    """Start busy loops on hosts, like a noisy neighbor, for at most ``longest`` seconds."""
    unit = f"systemd-run -q -p RuntimeMaxSec={longest} --unit {BUSY}"
    return shell(part, "; ".join(f"{unit}-{n} sh -c 'while :; do :; done'" for n in range(processes)))


def idle(part):
    """Stop the busy loops."""
    return shell(part, f"systemctl stop '{BUSY}-*'")


def switchover(scene):
    """Hand the lead over, as an operator does."""
    scene.lab.salt(scene.leader, "fanatico_patroni.switchover", "any")


def led_by_prepared(script):
    """Run a script on a replica while its PostgreSQL is down, then switch over to it: the leader is the prepared host."""

    def step(scene):
        lab, (node,) = scene.lab, scene.struck["replica"]
        undisturbed(scene, node, script)
        lab.salt(node, "fanatico_patroni.wait_streaming")
        lab.salt(node, "fanatico_patroni.switchover", node)
        lab.salt(node, "fanatico_patroni.wait_streaming")
        scene.look()

    return step


def put_back(script):
    """Undo the preparation on every prepared database host.

    script
        Its first line is a command that fails on hosts that were not prepared; the rest undoes the preparation.
    """

    def step(scene):
        for node in scene.struck["databases"]:
            if not scene.lab.exec(node, ["sh", "-c", script.partition("\n")[0]], check=False).returncode:
                undisturbed(scene, node, script.partition("\n")[2])

    return step


def undisturbed(scene, node, script):
    """Run a script on a node while Patroni and PostgreSQL are stopped there and healing is frozen."""
    scene.lab.salt_run("fanatico.freeze", "a drill", "5m")
    try:
        for argv in (
            ["systemctl", "stop", "patroni"],
            ["sh", "-ec", script],
            ["systemctl", "start", "patroni"],
        ):
            scene.lab.exec(node, argv, timeout=120)
    finally:
        scene.lab.salt_run("fanatico.unfreeze")


# A separate, small disk for the write-ahead log. In memory, because the lab's machines share one disk.
SMALL_DISK = """
    wal=$(echo /var/lib/postgresql/*/main/pg_wal)
    cp -a "$wal" /root/wal
    mount -t tmpfs -o size=640m,mode=700,uid=postgres,gid=postgres none "$wal"
    cp -a /root/wal/. "$wal"
"""
FULL = """
    wal=$(echo /var/lib/postgresql/*/main/pg_wal)
    head -c 1G /dev/zero >"$wal/filler" 2>/dev/null || true
    # Use up the preallocated segments; then there is no space for another.
    runuser -u postgres -- psql -Xqc "SELECT count(pg_logical_emit_message(false, 'drill', repeat('x', 1000000)))
        FROM generate_series(1, 900)" >/dev/null 2>&1 || true
"""
EMPTIED = "rm -f /var/lib/postgresql/*/main/pg_wal/filler"
BIG_DISK = """mountpoint -q /var/lib/postgresql/*/main/pg_wal
    wal=$(echo /var/lib/postgresql/*/main/pg_wal)
    rm -rf /root/wal "$wal/filler"
    cp -a "$wal" /root/wal
    umount "$wal"
    rm -rf "$wal"/*
    cp -a /root/wal/. "$wal"
    rm -rf /root/wal
"""

# A separate clock for Patroni and PostgreSQL, by libfaketime: the lab's machines share one kernel with one clock. The
# monotonic clock is not changed, as with a real clock that is set.
OWN_CLOCK = """
    apt-get -qq update
    apt-get -qq install -y --no-install-recommends libfaketime >/dev/null
    mkdir -p /run/systemd/system/patroni.service.d
    echo +0 >/run/fanatico-clock
    library=$(dpkg -L libfaketime | grep 'libfaketime.so.1$')
    printf '%s\n' '[Service]' "Environment=LD_PRELOAD=$library FAKETIME_TIMESTAMP_FILE=/run/fanatico-clock" \
        'Environment=FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1' \
        >/run/systemd/system/patroni.service.d/zz-drill.conf
    systemctl daemon-reload
"""
SHARED_CLOCK = """test -e /run/systemd/system/patroni.service.d/zz-drill.conf
    rm -f /run/systemd/system/patroni.service.d/zz-drill.conf /run/fanatico-clock
    systemctl daemon-reload
"""


def clock(part, offset):
    """Set the clock of Patroni and PostgreSQL to an offset from the real one, in seconds: ``+3600``."""
    return shell(part, f"echo {offset} >/run/fanatico-clock")


def alarm(action):
    """Raise etcd's alarm NOSPACE (``ACTIVATE``), or clear it (``DEACTIVATE``)."""

    def step(scene):
        (node,) = scene.struck["etcd_leader"]
        order = {"action": action, "memberID": 0, "alarm": "NOSPACE"}
        scene.lab.salt(
            node, "fanatico_etcd.gateway_call", "/v3/maintenance/alarm", f"payload={json.dumps(order)}"
        )

    return step


def elections(times):
    """Raise etcd's term: kill all members, several times, and wait for the next leader."""

    def step(scene):
        node, *_ = scene.struck["etcd"]
        for _ in range(times):
            signal("etcd", "etcd", "KILL")(scene)
            scene.lab.salt(node, "fanatico_etcd.wait_quorum")
        scene.look()

    return step


def wiped(part):
    """Kill etcd on hosts and delete its data."""
    return shell(part, "systemctl kill -s KILL etcd; systemctl stop etcd; rm -rf /var/lib/etcd/*")


def recovered(scene):
    """Rebuild etcd, as an operator does, and note how long that takes."""
    begun = time.monotonic()
    scene.lab.salt_run("state.orchestrate", "orch.recover_etcd", timeout=600)
    scene.noted["recovery"] = round(time.monotonic() - begun, 1)


def highstate(part, sls):
    """Apply an SLS on hosts."""

    def step(scene):
        for node in scene.struck[part]:
            scene.lab.salt(node, "state.apply", sls, "queue=True", timeout=180)

    return step


# Fires events; prints their number, and the memory of the master's processes in MiB: before, each second, and 5 s after.
FORGE = """
import glob, json, subprocess, sys, time
import salt.config, salt.utils.event
a_second, seconds, leader = json.loads(sys.argv[1])
group = subprocess.check_output(["systemctl", "show", "-P", "ControlGroup", "salt-master"], text=True).strip()
def mib():
    kib = 0
    for path in glob.glob(f"/sys/fs/cgroup{group}/**/cgroup.procs", recursive=True) + [f"/sys/fs/cgroup{group}/cgroup.procs"]:
        for pid in set(open(path).read().split()):
            try:
                kib += sum(int(line.split()[1]) for line in open(f"/proc/{pid}/status") if line.startswith("RssAnon"))
            except OSError:
                pass
    return round(kib / 1024)
opts = salt.config.master_config("/etc/salt/master")
facts = {"id": leader, "what": "patroni.service", "why": "forged"}
fired, memory, begun = 0, [mib()], time.monotonic()
with salt.utils.event.get_master_event(opts, opts["sock_dir"]) as bus:
    for second in range(seconds):
        for _ in range(a_second):
            bus.fire_event(facts, f"salt/beacon/{leader}/fanatico/patroni.service")
            fired += 1
        memory.append(mib())
        time.sleep(max(0, begun + second + 1 - time.monotonic()))
took = time.monotonic() - begun
time.sleep(5)
print(json.dumps({"fired": fired, "seconds": round(took, 1), "master_mib": [*memory, mib()]}))
"""


def forged(a_second, seconds):
    """Fire forged events on the master, ``a_second`` per second for ``seconds``: Patroni on the leader is down."""

    def step(scene):
        order = json.dumps([a_second, seconds, scene.leader])
        argv = ["/opt/salt/bin/python", "-c", FORGE, order]
        printed = scene.lab.exec(scene.lab.master, argv, timeout=seconds * 5 + 60).stdout
        scene.noted["storm"] = json.loads(printed.splitlines()[-1])

    return step
