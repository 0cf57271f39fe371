"""What can be broken: how, how it is undone, and what must come of it. A table, and the few things its rows are made of.

A step is a function of the Scene. It strikes those that had a part when the run began, by the part's name, for example
``leader``, ``replicas``, ``etcd_leader`` or ``holder`` (of the virtual address): ``Scene.struck`` in run.py has them all.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

# A replica is back within a blink and takes its slot again, so that it may need several tries.
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


# --- what steps are made of


def sequence(*steps):
    """Do one thing after the other."""
    return lambda scene: [step(scene) for step in steps]


def wait(seconds):
    """Let some time go by."""
    return lambda _: time.sleep(seconds)


def shell(part, script):
    """Run a shell script on hosts, as root."""
    return lambda scene: scene.each(part, "sh", "-ec", script)


def signal(part, unit, name, whom="main"):
    """Send a signal to a unit's main process, or to all of its processes."""
    # Not by `systemctl kill`: that ends what systemd runs after the unit's end as well.
    processes = {
        "main": f"systemctl show -P MainPID {unit}",
        "all": f'cat "/sys/fs/cgroup$(systemctl show -P ControlGroup {unit})/cgroup.procs"',
    }
    return shell(part, f"kill -{name} $({processes[whom]})")


def unit(part, verb, name):
    """Have systemd do something with a unit."""
    return shell(part, f"systemctl {verb} {name}")


def postgres(part, name, process="$(head -1 /var/lib/postgresql/*/main/postmaster.pid)"):
    """Send a signal to PostgreSQL's first process, which is Patroni's child and no unit's main process; or to another."""
    return shell(part, f"kill -{name} {process}")


def statement(part, sql, database="postgres"):
    """Run a statement as PostgreSQL's own user."""
    return lambda scene: [scene.lab.sql(node, sql, database) for node in scene.struck[part]]


def power(part, on):
    """Cut the power of hosts, or give it back and wait until they have booted."""

    def step(scene):
        for node in scene.struck[part]:
            scene.lab.power_on(node) if on else scene.lab.power_off(node)
        for node in scene.struck[part] if on else ():
            scene.lab.machine(node).wait_booted()

    return step


def shut_down(part):
    """Shut hosts down in order."""
    return lambda scene: [scene.lab.machine(node).shut_down() for node in scene.struck[part]]


def cable(part, plugged):
    """Pull the cable of hosts, or plug it in again."""
    return lambda scene: [
        (scene.lab.plug if plugged else scene.lab.unplug)(node) for node in scene.struck[part]
    ]


def pause(part, paused):
    """Let every process of hosts stand still, as a paused virtual machine does, or go on."""
    return lambda scene: [scene.lab.machine(node).freeze(paused) for node in scene.struck[part]]


def filtered(*rules):
    """Load nftables rules on the switch, where no machine can undo them: for what is bridged and for what is routed."""

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
    """Return the rules that let nothing through between hosts, either way."""
    return (
        f"ip saddr {{ %({part})s }} ip daddr {{ %({others})s }} {what}",
        f"ip saddr {{ %({others})s }} ip daddr {{ %({part})s }} {what}",
    )


def cut(part, others):
    """Let nothing through between hosts."""
    return filtered(*between(part, others))


def lossy(part, percent):
    """Lose so many of a hundred packets from and to hosts, at random."""
    dice = f"numgen random mod 100 < {percent} drop"
    return filtered(f"ip saddr {{ %({part})s }} {dice}", f"ip daddr {{ %({part})s }} {dice}")


def mend(scene):
    """Let everything through again."""
    scene.rules(
        "".join(f"table {family} {TABLE}\ndelete table {family} {TABLE}\n" for family in ("ip", "bridge"))
    )


def slow(part, rate):
    """Let hosts' cables carry so much and no more; what waits longer than 400 ms is lost (tc-tbf)."""

    def step(scene):
        for node in scene.struck[part]:
            scene.qdisc(node, "replace", "root", "tbf", "rate", rate, "burst", "16kb", "latency", "400ms")

    return step


def fast(part):
    """Let cables carry what they can again."""
    return lambda scene: [scene.qdisc(node, "del", "root") for node in scene.struck[part]]


def busy(part, processes=2, longest=7200):
    """Let so many processes of hosts compute, as a neighbour's do, for so many seconds at most."""
    unit = f"systemd-run -q -p RuntimeMaxSec={longest} --unit {BUSY}"
    return shell(part, "; ".join(f"{unit}-{n} sh -c 'while :; do :; done'" for n in range(processes)))


def idle(part):
    """Let them rest again."""
    return shell(part, f"systemctl stop '{BUSY}-*'")


def switchover(scene):
    """Hand the lead over, as an operator does."""
    scene.lab.salt(scene.leader, "fanatico_patroni.switchover")


def alarm(action):
    """Raise etcd's alarm that it is out of space, or take it back."""

    def step(scene):
        (node,) = scene.struck["etcd_leader"]
        order = {"action": action, "memberID": 0, "alarm": "NOSPACE"}
        scene.lab.salt(node, "fanatico_etcd.order", "/v3/maintenance/alarm", f"payload={json.dumps(order)}")

    return step


def crowd(seconds):
    """Open sessions from a balancer until PostgreSQL takes no more, and keep them for a while."""

    def step(scene):
        (holder,) = scene.struck["holder"]
        settings = {
            "host": scene.address(scene.leader),
            "port": scene.lab.plan["ports"]["postgres"],
            "user": "fanatico",
            "sslmode": "require",
        }
        program = (
            "import psycopg, sys, time\n"
            "password, crowd = sys.stdin.readline().strip(), []\n"
            "try:\n"
            "    while len(crowd) < 5000:\n"
            f"        crowd.append(psycopg.connect(password=password, **{settings!r}))\n"
            "except psycopg.OperationalError:\n"
            f"    time.sleep({seconds})\n"
        )
        scene.lab.machine(holder).exec(
            ["/opt/salt/bin/python", "-c", program], text_input=scene.password + "\n", timeout=120
        )

    return step


def highstate(part, sls):
    """Have Salt put hosts in order."""

    def step(scene):
        for node in scene.struck[part]:
            scene.lab.salt(node, "state.apply", sls, "queue=True", timeout=180)

    return step


def forged(events):
    """Tell the master so many times that Patroni is down where it is not."""

    def step(scene):
        program = (
            "import salt.config, salt.utils.event\n"
            "opts = salt.config.master_config('/etc/salt/master')\n"
            "with salt.utils.event.get_master_event(opts, opts['sock_dir']) as bus:\n"
            f"    for _ in range({events}):\n"
            f"        bus.fire_event({{'id': {scene.leader!r}, 'unit': 'patroni.service', 'why': 'forged'}},"
            f" 'salt/beacon/{scene.leader}/fanatico/patroni.service')\n"
        )
        scene.lab.exec(scene.lab.master, ["/opt/salt/bin/python", "-c", program])

    return step


@dataclass(frozen=True)
class Fault:
    """One fault.

    number: its numbers in the matrix of faults (docs/failover.md). what: one line for people. prepare, strike, heal: steps;
    the first before there is load. failover: whether another database leads afterwards (None: it may). write_gap: seconds
    without an acknowledged write that no run may exceed. hold: seconds between strike and heal.
    """

    number: str
    what: str
    strike: Callable
    heal: Callable | None = None
    prepare: Callable | None = None
    failover: bool | None = False
    write_gap: float = 0.5
    hold: float = 5.0


def _crash(number, what, strike, heal=None, **settings):
    """PostgreSQL ends on the primary, and Patroni is there to see it."""
    return Fault(number, what, strike, heal, **{"failover": True, "write_gap": 5} | settings)


def _lost(number, what, strike, heal, **settings):
    """The primary is gone without a word: its lease has to end."""
    return Fault(number, what, strike, heal, **{"failover": True, "write_gap": 30, "hold": 32} | settings)


def halves(rng):
    """Divide the databases and etcd's nodes in two at random; nothing gets from one half to the other."""

    def step(scene):
        nodes = [*scene.struck["databases"], *scene.struck["etcd"]]
        rng.shuffle(nodes)
        middle = rng.randint(1, len(nodes) - 1)
        scene.struck.update(half=nodes[:middle], other_half=nodes[middle:])
        cut("half", "other_half")(scene)

    return Fault(
        "24", "the databases and etcd's nodes are divided in two at random", step, mend, failover=None
    )


WITHOUT_SALT = sequence(unit("all", "stop", "salt-minion"), unit("master", "stop", "salt-master"))
WITH_SALT = sequence(unit("master", "start", "salt-master"), unit("all", "start", "salt-minion"))

FAULTS = {
    # --- PostgreSQL
    "postgres-crash": _crash("1, 11", "PostgreSQL on the primary is killed", postgres("leader", "KILL")),
    "backend-kill": Fault(
        *("2", "one of PostgreSQL's server processes on the primary is killed",
          postgres("leader", "KILL", "$(pgrep -f '[p]ostgres: .* fanatico fanatico' | head -1)")),
        failover=None,
        write_gap=5,
    ),
    "postgres-pause": Fault(
        *("3", "PostgreSQL's first process on the primary stands still for 20 s; sessions that are there go on",
          postgres("leader", "STOP"), postgres("leader", "CONT")),
        hold=20,
    ),
    "connections-exhausted": Fault(
        "7",
        "a crowd of clients takes every connection slot there is for 15 s",
        crowd(15),
    ),
    "replica-crash": Fault("8", "PostgreSQL on one replica is killed", postgres("replica", "KILL")),
    "replicas-power": Fault(
        *("9", "both replicas' hosts lose their power: nothing is acknowledged that one host alone would have",
          power("replicas", on=False), power("replicas", on=True)),
        write_gap=60,
        hold=15,
    ),
    "slot-dropped": Fault(
        "10",
        "a replica's slot is dropped under it",
        statement("leader", DROP_SLOT),
    ),
    # --- Patroni
    "patroni-kill": Fault(
        "12", "Patroni on the primary is killed; its unit starts it again", signal("leader", "patroni", "KILL")
    ),
    "patroni-gone": _lost(
        *("13", "Patroni on the primary is killed and stays away",
          sequence(unit("leader", "mask --runtime", "patroni"), signal("leader", "patroni", "KILL")),
          sequence(unit("leader", "unmask --runtime", "patroni"), unit("leader", "start", "patroni")))
    ),
    "patroni-pause": _lost(
        *("14", "Patroni on the primary stands still for a minute",
          signal("leader", "patroni", "STOP"), signal("leader", "patroni", "CONT")),
        hold=60,
    ),
    "patroni-stop": _crash(
        "15", "Patroni on the primary is stopped in order", unit("leader", "stop", "patroni"),
        unit("leader", "start", "patroni"),
    ),
    "rest-blackholed": Fault(
        *("16", "the balancers cannot ask the primary's Patroni for 10 s",
          filtered("ip saddr { %(balancers)s } ip daddr { %(leader)s } tcp dport %(patroni_rest)s drop"), mend),
        write_gap=20,
        hold=10,
    ),
    "switchover": _crash("48", "a planned switchover", switchover),
    # --- the primary's host
    "primary-power": _lost("17", "the primary's host loses its power", power("leader", on=False), power("leader", on=True)),
    "primary-and-etcd-leader-power": _lost(
        *("18", "the primary's host and that of etcd's leader lose their power at once",
          sequence(power("leader", on=False), power("etcd_leader", on=False)),
          sequence(power("leader", on=True), power("etcd_leader", on=True)))
    ),
    "primary-shut-down": _crash(
        "20", "the primary's host is shut down in order", shut_down("leader"), power("leader", on=True)
    ),
    "primary-pause": _lost(
        *("22", "the primary's host stands still for 40 s", pause("leader", paused=True), pause("leader", paused=False)),
        hold=40,
    ),
    # --- the primary's network
    "primary-isolated": _lost(
        *("24", "the primary's cable is pulled", cable("leader", plugged=False), cable("leader", plugged=True))
    ),
    "primary-without-etcd": Fault(
        *("25", "the primary cannot reach etcd for 30 s", cut("leader", "etcd"), mend), hold=30
    ),
    "primary-without-replicas": Fault(
        *("26", "the primary cannot reach either replica for 10 s: nothing is acknowledged",
          cut("leader", "replicas"), mend),
        write_gap=25,
        hold=10,
    ),
    "one-way-to-replica": Fault(
        *("27", "what the primary sends to one replica is lost, the other way goes through",
          filtered("ip saddr { %(leader)s } ip daddr { %(replica)s } drop"), mend),
        hold=20,
    ),
    "one-way-from-etcd": Fault(
        *("25", "the primary hears nothing from etcd for 30 s, etcd hears the primary",
          filtered("ip saddr { %(etcd)s } ip daddr { %(leader)s } drop"), mend),
        hold=30,
    ),
    "databases-lossy": Fault(
        *("28", "5 of 100 packets from and to the databases are lost for 30 s", lossy("databases", 5), mend),
        write_gap=5,
        hold=30,
    ),
    # --- replicas
    "replica-power": Fault(
        *("21", "a replica's host loses its power", power("replica", on=False), power("replica", on=True))
    ),
    "replica-isolated": Fault(
        *("21", "a replica's cable is pulled for 30 s", cable("replica", plugged=False), cable("replica", plugged=True)),
        hold=30,
    ),
    "replica-and-etcd-leader-power": Fault(
        *("21", "the hosts of a replica and of etcd's leader lose their power at once",
          sequence(power("replica", on=False), power("etcd_leader", on=False)),
          sequence(power("replica", on=True), power("etcd_leader", on=True)))
    ),
    # --- etcd
    "etcd-leader-kill": Fault("29", "etcd's leader is killed", signal("etcd_leader", "etcd", "KILL")),
    "etcd-leader-pause": Fault(
        *("29", "etcd's leader stands still for 30 s",
          signal("etcd_leader", "etcd", "STOP"), signal("etcd_leader", "etcd", "CONT")),
        hold=30,
    ),
    "etcd-leader-isolated": Fault(
        *("29", "etcd's leader cannot reach its peers for 30 s, clients can reach it",
          cut("etcd_leader", "etcd_followers"), mend),
        hold=30,
    ),
    "etcd-lossy": Fault(
        *("28", "5 of 100 packets from and to etcd are lost for a minute", lossy("etcd", 5), mend), hold=60
    ),
    "etcd-slow": Fault(
        *("28", "etcd's cables carry 256 kbit/s for a minute", slow("etcd", "256kbit"), fast("etcd")), hold=60
    ),
    "etcd-quorum-power": Fault(
        *("30", "two of three etcd hosts lose their power for a minute",
          power("etcd_majority", on=False), power("etcd_majority", on=True)),
        hold=60,
    ),
    "etcd-all-power": Fault(
        *("31", "every etcd host loses its power for a minute", power("etcd", on=False), power("etcd", on=True)),
        hold=60,
    ),
    "etcd-all-and-replica-power": Fault(
        *("32", "every etcd host loses its power, then a replica's: nobody can be sure who leads, so nobody does",
          sequence(power("etcd", on=False), wait(10), power("replica", on=False)),
          sequence(power("etcd", on=True), power("replica", on=True))),
        failover=None,
        write_gap=90,
        hold=40,
    ),
    "etcd-no-space": Fault(
        *("33", "etcd is out of space for 30 s: it reads and takes leases, and writes nothing",
          alarm("ACTIVATE"), alarm("DEACTIVATE")),
        hold=30,
    ),
    "etcd-wiped": Fault(
        *("34", "a member of etcd loses its data",
          shell("etcd_follower", "systemctl kill -s KILL etcd; systemctl stop etcd; rm -rf /var/lib/etcd/*"),
          highstate("etcd_follower", "roles.etcd"))
    ),
    "etcd-corrupt": Fault(
        *("35", "a member of etcd finds its database damaged",
          shell("etcd_follower", "systemctl stop etcd; "
                "head -c 65536 /dev/urandom | dd of=/var/lib/etcd/member/snap/db bs=1k conv=notrunc status=none; "
                "systemctl start --no-block etcd"),
          sequence(shell("etcd_follower", "systemctl stop etcd; rm -rf /var/lib/etcd/*"),
               highstate("etcd_follower", "roles.etcd"))),
        hold=10,
    ),
    "etcd-rolling-restart": Fault(
        *("50", "etcd's members are restarted one after the other, the leader last",
          sequence(unit("etcd_followers", "restart", "etcd"), unit("etcd_leader", "restart", "etcd")))
    ),
    # --- the balancers
    "haproxy-kill": Fault(
        "38", "HAProxy is killed where the virtual address is", signal("holder", "haproxy", "KILL", whom="all")
    ),
    "haproxy-stop": Fault(
        *("38", "HAProxy is stopped where the virtual address is", unit("holder", "stop", "haproxy"),
          unit("holder", "start", "haproxy"))
    ),
    "haproxy-pause": Fault(
        *("39", "HAProxy stands still where the virtual address is",
          signal("holder", "haproxy", "STOP", whom="all"), signal("holder", "haproxy", "CONT", whom="all")),
        write_gap=3,
    ),
    "balancer-power": Fault(
        *("40", "the host with the virtual address loses its power", power("holder", on=False), power("holder", on=True)),
        write_gap=1.5,
    ),
    "balancer-isolated": Fault(
        *("40", "the cable of the host with the virtual address is pulled",
          cable("holder", plugged=False), cable("holder", plugged=True)),
        write_gap=1.5,
    ),
    "balancer-pause": Fault(
        *("40", "the host with the virtual address stands still for 10 s",
          pause("holder", paused=True), pause("holder", paused=False)),
        write_gap=3,
        hold=10,
    ),
    "spare-balancer-power": Fault(
        *("40", "the balancer without the virtual address loses its power", power("spare", on=False), power("spare", on=True))
    ),
    "keepalived-kill": Fault(
        "42", "Keepalived is killed where the virtual address is",
        signal("holder", "keepalived", "KILL", whom="all"), write_gap=1.5,
    ),
    "vrrp-blocked": Fault(
        *("43", "the balancers do not hear each other for 10 s: both have the virtual address",
          filtered("ip protocol 112 drop"), mend),
        write_gap=3,
        hold=10,
    ),
    "haproxy-reload": Fault("51", "HAProxy is reloaded on both balancers", unit("balancers", "reload", "haproxy")),
    # --- Salt
    "salt-off-postgres-crash": _crash(
        "41, 1",
        "Salt is off; PostgreSQL on the primary is killed",
        postgres("leader", "KILL"),
        WITH_SALT,
        prepare=WITHOUT_SALT,
    ),
    "salt-off-primary-power": _lost(
        "41, 17",
        "Salt is off; the primary's host loses its power",
        power("leader", on=False),
        sequence(power("leader", on=True), WITH_SALT),
        prepare=WITHOUT_SALT,
    ),
    "salt-off-haproxy-kill": Fault(
        "41, 38",
        "Salt is off; HAProxy is killed where the virtual address is",
        signal("holder", "haproxy", "KILL", whom="all"),
        WITH_SALT,
        prepare=WITHOUT_SALT,
    ),
    "events-forged": Fault("46", "the master is told that the primary's Patroni is down, which it is not", forged(1), hold=15),
    "events-storm": Fault("45", "the master is told so a thousand times", forged(1000), hold=30),
    # --- everything
    "cpu-saturated": Fault(
        *("soak", "two processes on each database and etcd host do nothing but compute, for a minute",
          sequence(busy("databases"), busy("etcd")), sequence(idle("databases"), idle("etcd"))),
        write_gap=5,
        hold=60,
    ),
    "all-power": Fault(
        *("52", "every host but Salt's loses its power at once", power("nodes", on=False), power("nodes", on=True)),
        failover=None,
        write_gap=180,
    ),
}  # fmt: skip

# One of each kind, in a few minutes: what CI runs.
SHORT = ("postgres-crash", "switchover", "etcd-leader-kill", "haproxy-kill", "primary-without-etcd")


def named(word):
    """Return ``{name: Fault}`` for one name, for several with commas, for ``short`` or ``all``. Raises KeyError."""
    names = {"all": FAULTS, "short": SHORT}.get(word) or word.split(",")
    return {name: FAULTS[name] for name in names}
