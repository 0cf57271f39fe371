"""What can be broken: how, how it is undone, and what must come of it. A table, whose rows steps.py and sessions.py make."""

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
    busy,
    cable,
    clock,
    cut,
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
    sequence,
    shell,
    shut_down,
    signal,
    slow,
    statement,
    switchover,
    unit,
    wait,
)


@dataclass(frozen=True)
class Fault:
    """One fault.

    number: its numbers in the matrix of faults (docs/failover.md). what: one line for people. prepare, strike, heal,
    restore: steps; the first before there is load, the last when there is none any more. failover: whether another
    database leads afterwards (None: it may). write_gap: seconds without an acknowledged write that no run may exceed.
    hold: seconds between strike and heal. waited: seconds that a patient client's session may wait for an answer or its end
    (step ``patient``). untouched: there is nothing for Salt to heal, so that nothing may be healed.
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
    waited: float | None = None


def _crash(number, what, strike, heal=None, **settings):
    """PostgreSQL ends on the primary, and Patroni is there to see it."""
    return Fault(number, what, strike, heal, **{"failover": True, "write_gap": 5} | settings)


def _lost(number, what, strike, heal, **settings):
    """The primary is gone without a word: its lease has to end."""
    return Fault(number, what, strike, heal, **{"failover": True, "write_gap": 30, "hold": 32} | settings)


def _clock(offset, what):
    """The clock of the primary's Patroni and PostgreSQL jumps."""
    return Fault(
        *("23", f"the primary's clock is set {what}", clock("leader", offset), clock("leader", "+0")),
        prepare=led_by_prepared(OWN_CLOCK),
        restore=put_back(SHARED_CLOCK),
        failover=None,
        write_gap=26,
        hold=30,
    )


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


def _balancer(part, name):
    """A signal to all processes of HAProxy, the databases' and then the public's."""
    return sequence(*(signal(part, process, name, whom="all") for process in ("haproxy", "haproxy-edge")))


def _without_salt(state, off, on):
    """The worst faults, as {name: Fault}, while nothing of Salt runs. ``state``: the word for it. ``off``, ``on``: steps."""
    return {
        f"salt-{state}-postgres-crash": _crash(
            "41, 1",
            f"Salt is {state}; PostgreSQL on the primary is killed",
            postgres("leader", "KILL"),
            on,
            prepare=off,
        ),
        f"salt-{state}-primary-power": _lost(
            "41, 17",
            f"Salt is {state}; the primary's host loses its power",
            power("leader", on=False),
            sequence(power("leader", on=True), on),
            prepare=off,
        ),
        f"salt-{state}-haproxy-kill": Fault(
            "41, 38",
            f"Salt is {state}; HAProxy is killed where the virtual IP is",
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
# For many runs: a fleet of minions takes a minute to start on the lab's cores. A host that lost its power has a new one.
THAW = 'test "$(systemctl show -P FreezerState %(unit)s)" = running || systemctl thaw %(unit)s'
SALT_STILL = _without_salt(
    "still",
    sequence(unit("all", "freeze", "salt-minion"), unit("master", "freeze", "salt-master")),
    sequence(shell("master", THAW % {"unit": "salt-master"}), shell("all", THAW % {"unit": "salt-minion"})),
)

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
        *("3", "PostgreSQL's first process on the primary hangs for 20 s; sessions that are there go on",
          postgres("leader", "STOP"), postgres("leader", "CONT")),
        hold=20,
    ),
    "postgres-stop": _crash("1", "PostgreSQL on the primary is stopped behind Patroni's back", postgres("leader", "INT")),
    "disk-full": _crash(
        *("4", "the primary's disk for the write-ahead log is full", shell("leader", FULL),
          shell("leader", EMPTIED)),
        prepare=led_by_prepared(SMALL_DISK),
        restore=put_back(BIG_DISK),
        hold=10,
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
        *("14", "Patroni on the primary hangs for a minute",
          signal("leader", "patroni", "STOP"), signal("leader", "patroni", "CONT")),
        failover=None,  # not where Salt is on and ends it before the lease does
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
          power("leaders", on=False), power("leaders", on=True))
    ),
    "primary-shut-down": _crash(
        "20", "the primary's host is shut down in order", shut_down("leader"), power("leader", on=True)
    ),
    "primary-pause": _lost(
        *("22", "the primary's host hangs for 40 s", pause("leader", paused=True), pause("leader", paused=False)),
        hold=40,
    ),
    "primary-pause-after-reload": _lost(
        *("22", "both HAProxys are reloaded, then the primary's host hangs for 40 s: sessions from before the reload end too",
          sequence(unit("balancers", "reload", "haproxy"), wait(2), pause("leader", paused=True)),
          pause("leader", paused=False)),
        prepare=patient(10),
        restore=waited,
        hold=40,
        waited=15,
    ),
    "clock-forward": _clock("+3600", "an hour forward"),
    "clock-back": _clock("-3600", "an hour back"),
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
    "etcd-leader-stop": Fault(
        "29", "etcd's leader is stopped in order", unit("etcd_leader", "stop", "etcd"), unit("etcd_leader", "start", "etcd")
    ),
    "etcd-follower-kill": Fault("29", "a member of etcd that does not lead is killed", signal("etcd_follower", "etcd", "KILL")),
    "etcd-leader-pause": Fault(
        *("29", "etcd's leader hangs for 30 s",
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
    "haproxy-kill": Fault("38", "HAProxy is killed where the virtual IP is", _balancer("holder", "KILL")),
    "edge-kill": Fault(
        *("38", "the edge is killed where the virtual IP is, which stays", signal("holder", "haproxy-edge", "KILL", whom="all")),
        write_gap=0.2,
    ),
    "edge-gone": Fault(
        *("38", "the edge stays away where the virtual IP is, which moves to where there is one",
          sequence(unit("holder", "mask --runtime", "haproxy-edge"), unit("holder", "stop", "haproxy-edge")),
          sequence(unit("holder", "unmask --runtime", "haproxy-edge"), unit("holder", "start", "haproxy-edge"))),
        hold=15,
    ),
    "haproxy-stop": Fault(
        *("38", "HAProxy is stopped where the virtual IP is", unit("holder", "stop", "haproxy"),
          unit("holder", "start", "haproxy"))
    ),
    "haproxy-pause": Fault(
        *("39", "HAProxy hangs where the virtual IP is",
          _balancer("holder", "STOP"), _balancer("holder", "CONT")),
        write_gap=3,
    ),
    "balancer-power": Fault(
        *("40", "the host with the virtual IP loses its power", power("holder", on=False), power("holder", on=True)),
        write_gap=1.5,
    ),
    "balancer-isolated": Fault(
        *("40", "the cable of the host with the virtual IP is pulled",
          cable("holder", plugged=False), cable("holder", plugged=True)),
        write_gap=1.5,
    ),
    "balancer-pause": Fault(
        *("40", "the host with the virtual IP hangs for 10 s",
          pause("holder", paused=True), pause("holder", paused=False)),
        write_gap=3,
        hold=10,
    ),
    "spare-balancer-power": Fault(
        *("40", "the balancer without the virtual IP loses its power", power("spare", on=False), power("spare", on=True))
    ),
    "keepalived-kill": Fault(
        "42", "Keepalived is killed where the virtual IP is",
        signal("holder", "keepalived", "KILL", whom="all"), write_gap=1.5,
    ),
    "keepalived-stop": Fault(
        *("42", "Keepalived is stopped where the virtual IP is", unit("holder", "stop", "keepalived"),
          unit("holder", "start", "keepalived"))
    ),
    "keepalived-pause": Fault(
        *("42", "Keepalived hangs where the virtual IP is, which the other balancer then has as well",
          signal("holder", "keepalived", "STOP", whom="all"), signal("holder", "keepalived", "CONT", whom="all")),
        write_gap=1.5,
        hold=10,
    ),
    "vrrp-blocked": Fault(
        *("43", "the balancers do not hear each other for 10 s: both have the virtual IP",
          filtered("ip protocol 112 drop"), mend),
        write_gap=3,
        hold=10,
    ),
    "haproxy-reload": Fault("51", "HAProxy is reloaded on both balancers", unit("balancers", "reload", "haproxy haproxy-edge")),
    # --- Salt
    **SALT_OFF,
    **SALT_STILL,
    "events-forged": Fault(
        *("46", "the master is told that the primary's Patroni is down, which it is not", forged(1, 1)),
        hold=15,
        untouched=True,
    ),
    "events-storm": Fault(
        *("45", "the master is told so a thousand times a second for a minute", forged(1000, 60)),
        hold=20,
        untouched=True,
    ),
    # --- everything
    "cpu-saturated": Fault(
        *("soak", "two processes on each database and etcd host do nothing but compute, for a minute",
          sequence(busy("databases"), busy("etcd")), sequence(idle("databases"), idle("etcd"))),
        write_gap=5,
        hold=60,
        untouched=True,
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
