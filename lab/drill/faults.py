"""The faults of `./fanatico drill`: how each is injected and reverted, and its limits. Their steps: steps.py, sessions.py."""

from collections.abc import Callable
from dataclasses import dataclass

from lab.drill.sessions import crowd, patient, waited
from lab.drill.steps import (
    BIG_DISK,
    DROP_SLOT,
    EMPTIED,
    FULL,
    OWN_CLOCK,
    SHARED_CLOCK,
    SMALL_DISK,
    alarm,
    between,
    busy,
    cable,
    clock,
    cut,
    elections,
    fast,
    filtered,
    forged,
    highstate,
    idle,
    led_by_prepared,
    lossy,
    mend,
    pause,
    postgres,
    power,
    put_back,
    recovered,
    sequence,
    shell,
    shut_down,
    signal,
    slow,
    statement,
    switchover,
    unit,
    wait,
    wiped,
)


@dataclass(frozen=True)
class Fault:
    """One fault.

    number: its numbers in the fault matrix (docs/failover.md). what: one line of description. prepare, strike, heal,
    restore: steps; `prepare` runs before the load starts, `restore` after it has ended. failover: whether another database
    leads afterwards (None: either). write_gap: the write outage that no run may exceed, in seconds. hold: seconds between
    strike and heal. waited: seconds that a session without a timeout (step ``patient``) may wait for an answer or its end.
    untouched: healing must not act. destroys: the fault itself makes data unusable; after any other, healing must delete none.
    """

    number: str
    what: str
    strike: Callable
    heal: Callable | None = None
    prepare: Callable | None = None
    restore: Callable | None = None
    failover: bool | None = False
    write_gap: float = 0.5
    hold: float = 5.0
    untouched: bool = False
    destroys: bool = False
    waited: float | None = None


def _crash(number, what, strike, heal=None, **settings):
    """PostgreSQL on the leader ends and Patroni sees it: a failover without waiting for the lease."""
    return Fault(number, what, strike, heal, **{"failover": True, "write_gap": 5} | settings)


def _lost(number, what, strike, heal, **settings):
    """The leader disappears without releasing its lease: a failover when the lease has expired."""
    return Fault(number, what, strike, heal, **{"failover": True, "write_gap": 30, "hold": 32} | settings)


def _clock(offset, what):
    """The clock of Patroni and PostgreSQL on the leader jumps."""
    return Fault(
        *("23", f"the leader's clock is set {what}", clock("leader", offset), clock("leader", "+0")),
        prepare=led_by_prepared(OWN_CLOCK),
        restore=put_back(SHARED_CLOCK),
        failover=None,
        write_gap=26,
        hold=30,
    )


def halves(rng):
    """Partition the databases and etcd nodes into two random halves, without traffic between them."""

    def step(scene):
        nodes = [*scene.struck["databases"], *scene.struck["etcd"]]
        rng.shuffle(nodes)
        middle = rng.randint(1, len(nodes) - 1)
        scene.struck.update(half=nodes[:middle], other_half=nodes[middle:])
        cut("half", "other_half")(scene)

    return Fault(
        "24", "the databases and etcd nodes are partitioned into two random halves", step, mend, failover=None
    )


def _balancer(part, name):
    """Send a signal to all processes of HAProxy: first of that for the databases, then of the edge."""
    return sequence(*(signal(part, process, name, whom="all") for process in ("haproxy", "haproxy-edge")))


def _without_salt(state, off, on):
    """Return {name: Fault} of severe faults without Salt. ``state``: part of the names. ``off``, ``on``: steps for Salt."""
    return {
        f"salt-{state}-postgres-crash": _crash(
            "41, 1",
            f"Salt is {state}; PostgreSQL on the leader is killed",
            postgres("leader", "KILL"),
            on,
            prepare=off,
        ),
        f"salt-{state}-primary-power": _lost(
            "41, 17",
            f"Salt is {state}; the leader's host loses power",
            power("leader", on=False),
            sequence(power("leader", on=True), on),
            prepare=off,
        ),
        f"salt-{state}-haproxy-kill": Fault(
            "41, 38",
            f"Salt is {state}; HAProxy is killed on the holder of the virtual IP",
            _balancer("holder", "KILL"),
            on,
            prepare=off,
        ),
    }


SALT_OFF = _without_salt(
    "off",
    sequence(unit("all", "stop", "salt-minion"), unit("master", "stop", "salt-master")),
    sequence(unit("master", "start", "salt-master"), unit("all", "start", "salt-minion")),
)
# Frozen instead of stopped, for series of runs: starting all minions takes a minute on the lab's cores. A host that was
# powered off has a new minion, which is not frozen.
THAW = 'test "$(systemctl show -P FreezerState %(unit)s)" = running || systemctl thaw %(unit)s'
SALT_STILL = _without_salt(
    "still",
    sequence(unit("all", "freeze", "salt-minion"), unit("master", "freeze", "salt-master")),
    sequence(shell("master", THAW % {"unit": "salt-master"}), shell("all", THAW % {"unit": "salt-minion"})),
)


def _without_backups(state, what, off, on):
    """Return {name: Fault} of failovers while no WAL can be archived. ``off``, ``on``: steps for the backup hosts."""
    return {
        f"backup-{state}-switchover": _crash(
            "48", f"{what}; a planned switchover", switchover, on, prepare=off
        ),
        f"backup-{state}-postgres-crash": _crash(
            "1",
            f"{what}; PostgreSQL on the leader is killed",
            postgres("leader", "KILL"),
            on,
            prepare=off,
        ),
        f"backup-{state}-primary-power": _lost(
            "17",
            f"{what}; the leader's host loses power",
            power("leader", on=False),
            sequence(power("leader", on=True), on),
            prepare=off,
        ),
    }


WITHOUT_BACKUPS = _without_backups(
    "off", "the backup host is off", power("backups", on=False), power("backups", on=True)
) | _without_backups(
    "cut",
    "packets from and to the backup host are lost",
    filtered(*between("backups", "databases")),
    mend,
)

FAULTS = {
    # --- PostgreSQL
    "postgres-crash": _crash("1, 11", "PostgreSQL on the leader is killed", postgres("leader", "KILL")),
    "backend-kill": Fault(
        *("2", "a server process of PostgreSQL on the leader is killed",
          postgres("leader", "KILL", "$(pgrep -f '[p]ostgres: .* fanatico fanatico' | head -1)")),
        failover=None,
        write_gap=5,
    ),
    "postgres-pause": Fault(
        *("3", "the postmaster on the leader hangs for 20 s; existing sessions continue",
          postgres("leader", "STOP"), postgres("leader", "CONT")),
        hold=20,
    ),
    "postgres-stop": _crash("1", "PostgreSQL on the leader is stopped without Patroni", postgres("leader", "INT")),
    "disk-full": _crash(
        *("4", "the leader's disk for the write-ahead log is full", shell("leader", FULL),
          shell("leader", EMPTIED)),
        prepare=led_by_prepared(SMALL_DISK),
        restore=put_back(BIG_DISK),
        hold=10,
    ),
    "connections-exhausted": Fault(
        "7",
        "clients use every connection slot for 15 s",
        crowd(15),
    ),
    "replica-crash": Fault("8", "PostgreSQL on one replica is killed", postgres("replica", "KILL")),
    "replicas-power": Fault(
        *("9", "the hosts of both replicas lose power: no write is acknowledged, since only one host would have it",
          power("replicas", on=False), power("replicas", on=True)),
        write_gap=60,
        hold=15,
    ),
    "slot-dropped": Fault(
        "10",
        "the slot of a streaming replica is dropped",
        statement("leader", DROP_SLOT),
    ),
    # --- Patroni
    "patroni-kill": Fault(
        "12", "Patroni on the leader is killed; systemd restarts it", signal("leader", "patroni", "KILL")
    ),
    "patroni-gone": _lost(
        *("13", "Patroni on the leader is killed and stays down",
          sequence(unit("leader", "mask --runtime", "patroni"), signal("leader", "patroni", "KILL")),
          sequence(unit("leader", "unmask --runtime", "patroni"), unit("leader", "start", "patroni")))
    ),
    "patroni-pause": _lost(
        *("14", "Patroni on the leader hangs for a minute",
          signal("leader", "patroni", "STOP"), signal("leader", "patroni", "CONT")),
        failover=None,  # none where healing restarts it before the lease expires
        hold=60,
    ),
    "patroni-stop": _crash(
        "15", "Patroni on the leader is stopped cleanly", unit("leader", "stop", "patroni"),
        unit("leader", "start", "patroni"),
    ),
    "rest-blackholed": Fault(
        *("16", "the balancers cannot reach the leader's Patroni REST API for 10 s",
          filtered("ip saddr { %(balancers)s } ip daddr { %(leader)s } tcp dport %(patroni_rest)s drop"), mend),
        write_gap=20,
        hold=10,
    ),
    "switchover": _crash("48", "a planned switchover", switchover),
    # --- the leader's host
    "primary-power": _lost("17", "the leader's host loses power", power("leader", on=False), power("leader", on=True)),
    "primary-and-etcd-leader-power": _lost(
        *("18", "the leader's host and the etcd leader's host lose power at the same time",
          power("leaders", on=False), power("leaders", on=True))
    ),
    "primary-shut-down": _crash(
        "20", "the leader's host is shut down cleanly", shut_down("leader"), power("leader", on=True)
    ),
    "primary-pause": _lost(
        *("22", "the leader's host hangs for 40 s", pause("leader", paused=True), pause("leader", paused=False)),
        hold=40,
    ),
    "primary-pause-after-reload": _lost(
        *("22", "HAProxy is reloaded on both balancers, then the leader's host hangs for 40 s: older sessions end too",
          sequence(unit("balancers", "reload", "haproxy"), wait(2), pause("leader", paused=True)),
          pause("leader", paused=False)),
        prepare=patient(10),
        restore=waited,
        hold=40,
        waited=15,
    ),
    "clock-forward": _clock("+3600", "an hour forward"),
    "clock-back": _clock("-3600", "an hour back"),
    # --- the leader's network
    "primary-isolated": _lost(
        *("24", "the leader's cable is pulled", cable("leader", plugged=False), cable("leader", plugged=True))
    ),
    "primary-without-etcd": Fault(
        *("25", "the leader cannot reach etcd for 30 s", cut("leader", "etcd"), mend), hold=30
    ),
    "primary-without-replicas": Fault(
        *("26", "the leader cannot reach either replica for 10 s: no write is acknowledged",
          cut("leader", "replicas"), mend),
        write_gap=25,
        hold=10,
    ),
    "one-way-to-replica": Fault(
        *("27", "packets from the leader to one replica are lost, not those in the other direction",
          filtered("ip saddr { %(leader)s } ip daddr { %(replica)s } drop"), mend),
        hold=20,
    ),
    "one-way-from-etcd": Fault(
        *("25", "packets from etcd to the leader are lost for 30 s, not those in the other direction",
          filtered("ip saddr { %(etcd)s } ip daddr { %(leader)s } drop"), mend),
        hold=30,
    ),
    "databases-lossy": Fault(
        *("28", "5 % of the packets from and to the databases are lost for 30 s", lossy("databases", 5), mend),
        write_gap=5,
        hold=30,
    ),
    # --- replicas
    "replica-power": Fault(
        *("21", "a replica's host loses power", power("replica", on=False), power("replica", on=True))
    ),
    "replica-isolated": Fault(
        *("21", "a replica's cable is pulled for 30 s", cable("replica", plugged=False), cable("replica", plugged=True)),
        hold=30,
    ),
    "replica-and-etcd-leader-power": Fault(
        *("21", "the hosts of a replica and of the etcd leader lose power at the same time",
          sequence(power("replica", on=False), power("etcd_leader", on=False)),
          sequence(power("replica", on=True), power("etcd_leader", on=True)))
    ),
    # --- etcd
    "etcd-leader-kill": Fault("29", "the etcd leader is killed", signal("etcd_leader", "etcd", "KILL")),
    "etcd-leader-stop": Fault(
        "29", "the etcd leader is stopped cleanly", unit("etcd_leader", "stop", "etcd"), unit("etcd_leader", "start", "etcd")
    ),
    "etcd-follower-kill": Fault("29", "an etcd follower is killed", signal("etcd_follower", "etcd", "KILL")),
    "etcd-leader-pause": Fault(
        *("29", "the etcd leader hangs for 30 s",
          signal("etcd_leader", "etcd", "STOP"), signal("etcd_leader", "etcd", "CONT")),
        hold=30,
    ),
    "etcd-leader-isolated": Fault(
        *("29", "the etcd leader cannot reach its peers for 30 s; clients can reach it",
          cut("etcd_leader", "etcd_followers"), mend),
        hold=30,
    ),
    "etcd-lossy": Fault(
        *("28", "5 % of the packets from and to etcd are lost for a minute", lossy("etcd", 5), mend), hold=60
    ),
    "etcd-slow": Fault(
        *("28", "the network of the etcd hosts is limited to 256 kbit/s for a minute", slow("etcd", "256kbit"), fast("etcd")),
        hold=60,
    ),
    "etcd-quorum-power": Fault(
        *("30", "two of three etcd hosts lose power for a minute",
          power("etcd_majority", on=False), power("etcd_majority", on=True)),
        hold=60,
    ),
    "etcd-all-power": Fault(
        *("31", "all etcd hosts lose power for a minute", power("etcd", on=False), power("etcd", on=True)),
        hold=60,
    ),
    "etcd-all-and-replica-power": Fault(
        *("32", "all etcd hosts lose power, then a replica's host: the leader cannot be confirmed and steps down",
          sequence(power("etcd", on=False), wait(10), power("replica", on=False)),
          sequence(power("etcd", on=True), power("replica", on=True))),
        failover=None,
        write_gap=90,
        hold=40,
    ),
    "etcd-no-space": Fault(
        *("33", "etcd is out of space for 30 s: it serves reads and leases, but refuses writes",
          alarm("ACTIVATE"), alarm("DEACTIVATE")),
        hold=30,
    ),
    "etcd-wiped": Fault(
        *("34", "an etcd member loses its data",
          shell("etcd_follower", "systemctl kill -s KILL etcd; systemctl stop etcd; rm -rf /var/lib/etcd/*"),
          highstate("etcd_follower", "roles.etcd")),
        destroys=True,
    ),
    "etcd-corrupt": Fault(
        *("35", "the database of an etcd member is corrupt",
          shell("etcd_follower", "systemctl stop etcd; "
                "head -c 65536 /dev/urandom | dd of=/var/lib/etcd/member/snap/db bs=1k conv=notrunc status=none; "
                "systemctl start --no-block etcd"),
          sequence(shell("etcd_follower", "systemctl stop etcd; rm -rf /var/lib/etcd/*"),
               highstate("etcd_follower", "roles.etcd"))),
        hold=10, destroys=True,
    ),
    # The term is high before: Patroni refuses an etcd that has the former cluster id and a lower term.
    "etcd-majority-wiped": Fault(
        *("34", "two of three etcd members lose their data; writes continue without failover, until etcd is rebuilt",
          wiped("etcd_majority"), recovered),
        prepare=elections(5), hold=10, destroys=True,
    ),
    "etcd-all-wiped": Fault(
        *("34", "all etcd members lose their data; writes continue without failover, until etcd is rebuilt",
          wiped("etcd"), recovered),
        prepare=elections(5), hold=10, destroys=True,
    ),
    "etcd-all-wiped-databases-cold": Fault(
        *("34", "all etcd members lose their data, then all databases and etcd hosts lose power",
          sequence(wiped("etcd"), power("databases", on=False), power("etcd", on=False)),
          sequence(power("etcd", on=True), power("databases", on=True), recovered)),
        prepare=elections(5), failover=None, write_gap=180, hold=5, destroys=True,
    ),
    "etcd-rolling-restart": Fault(
        *("50", "the etcd members are restarted one after the other, the leader last",
          sequence(unit("etcd_followers", "restart", "etcd"), unit("etcd_leader", "restart", "etcd")))
    ),
    # --- the balancers
    "haproxy-kill": Fault("38", "HAProxy is killed on the holder of the virtual IP", _balancer("holder", "KILL")),
    "edge-kill": Fault(
        *("38", "the edge is killed on the holder of the virtual IP; the virtual IP stays",
          signal("holder", "haproxy-edge", "KILL", whom="all")),
        write_gap=0.2,
    ),
    "edge-gone": Fault(
        *("38", "the edge stays down on the holder of the virtual IP; the virtual IP moves to the other balancer",
          sequence(unit("holder", "mask --runtime", "haproxy-edge"), unit("holder", "stop", "haproxy-edge")),
          sequence(unit("holder", "unmask --runtime", "haproxy-edge"), unit("holder", "start", "haproxy-edge"))),
        hold=15,
    ),
    "haproxy-stop": Fault(
        *("38", "HAProxy is stopped on the holder of the virtual IP", unit("holder", "stop", "haproxy"),
          unit("holder", "start", "haproxy"))
    ),
    "haproxy-pause": Fault(
        *("39", "HAProxy hangs on the holder of the virtual IP",
          _balancer("holder", "STOP"), _balancer("holder", "CONT")),
        write_gap=3,
    ),
    "balancer-power": Fault(
        *("40", "the holder of the virtual IP loses power", power("holder", on=False), power("holder", on=True)),
        write_gap=1.5,
    ),
    "balancer-isolated": Fault(
        *("40", "the cable of the holder of the virtual IP is pulled",
          cable("holder", plugged=False), cable("holder", plugged=True)),
        write_gap=1.5,
    ),
    "balancer-pause": Fault(
        *("40", "the holder of the virtual IP hangs for 10 s",
          pause("holder", paused=True), pause("holder", paused=False)),
        write_gap=3,
        hold=10,
    ),
    "spare-balancer-power": Fault(
        *("40", "the standby balancer loses power", power("spare", on=False), power("spare", on=True))
    ),
    "keepalived-kill": Fault(
        "42", "Keepalived is killed on the holder of the virtual IP",
        signal("holder", "keepalived", "KILL", whom="all"), write_gap=1.5,
    ),
    "keepalived-stop": Fault(
        *("42", "Keepalived is stopped on the holder of the virtual IP", unit("holder", "stop", "keepalived"),
          unit("holder", "start", "keepalived"))
    ),
    "keepalived-pause": Fault(
        *("42", "Keepalived hangs on the holder of the virtual IP: then both balancers have the virtual IP",
          signal("holder", "keepalived", "STOP", whom="all"), signal("holder", "keepalived", "CONT", whom="all")),
        write_gap=1.5,
        hold=10,
    ),
    "vrrp-blocked": Fault(
        *("43", "VRRP between the balancers is blocked for 10 s: both have the virtual IP",
          filtered("ip protocol 112 drop"), mend),
        write_gap=3,
        hold=10,
    ),
    "haproxy-reload": Fault("51", "HAProxy is reloaded on both balancers", unit("balancers", "reload", "haproxy haproxy-edge")),
    # --- the backup host
    **WITHOUT_BACKUPS,
    # --- Salt
    **SALT_OFF,
    **SALT_STILL,
    "events-forged": Fault(
        *("46", "the master gets a forged event: Patroni on the leader is down", forged(1, 1)),
        hold=15,
        untouched=True,
    ),
    "events-storm": Fault(
        *("45", "the master gets a thousand such forged events per second for a minute", forged(1000, 60)),
        hold=20,
        untouched=True,
    ),
    # --- all hosts
    "cpu-saturated": Fault(
        *("soak", "two busy loops on each database and etcd host, for a minute",
          sequence(busy("databases"), busy("etcd")), sequence(idle("databases"), idle("etcd"))),
        write_gap=5,
        hold=60,
        untouched=True,
    ),
    "all-power": Fault(
        *("52", "all hosts but the Salt master's lose power at the same time", power("nodes", on=False), power("nodes", on=True)),
        failover=None,
        write_gap=180,
    ),
}  # fmt: skip

# One fault of each kind, in a few minutes, for CI.
SHORT = ("postgres-crash", "switchover", "etcd-leader-kill", "haproxy-kill", "primary-without-etcd")


def named(word):
    """Return ``{name: Fault}`` for a name, several names with commas, ``short`` or ``all``. Raises KeyError for others."""
    names = {"all": FAULTS, "short": SHORT}.get(word) or word.split(",")
    return {name: FAULTS[name] for name in names}
