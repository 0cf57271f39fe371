"""What can be broken: how, how it is undone, and what must come of it. A table, and the few things its rows are made of.

A step is a function of the Scene. It strikes those that had a part when the run began, by the part's name: ``leader``,
``replica``, ``etcd_leader``, ``holder`` (of the virtual address), ``etcd`` (all its nodes), ``etcd_majority``.
"""

from collections.abc import Callable
from dataclasses import dataclass

from lab.shell import run

TABLE = "fanatico_drill"


def signal(part, unit, name, whom="main"):
    """Send a signal to a unit's main process, or to all of its processes."""
    return lambda scene: scene.each(
        part, "systemctl", "kill", f"--kill-whom={whom}", f"--signal={name}", f"{unit}.service"
    )


def unit(part, verb, name):
    """Start or stop a unit in order."""
    return lambda scene: scene.each(part, "systemctl", verb, name)


def postgres(part, name):
    """Send a signal to PostgreSQL's first process, which is Patroni's child and no unit's main process."""
    return lambda scene: scene.each(
        part, "sh", "-c", f"kill -{name} $(head -1 /var/lib/postgresql/*/main/postmaster.pid)"
    )


def power(part, on):
    """Cut the power of hosts, or give it back and wait until they have booted."""

    def step(scene):
        for node in scene.struck[part]:
            scene.lab.power_on(node) if on else scene.lab.power_off(node)
        for node in scene.struck[part] if on else ():
            scene.lab.machine(node).wait_booted()

    return step


def cable(part, plugged):
    """Pull the cable of hosts, or plug it in again."""
    return lambda scene: [
        (scene.lab.plug if plugged else scene.lab.unplug)(node) for node in scene.struck[part]
    ]


def pause(part, paused):
    """Let every process of hosts stand still, as a paused virtual machine does, or go on."""
    return lambda scene: [scene.lab.machine(node).freeze(paused) for node in scene.struck[part]]


def cut(part, others):
    """Let nothing through between hosts, on the switch, where no machine can undo it."""

    def step(scene):
        one, other = (
            ", ".join(scene.address(node) for node in scene.struck[name]) for name in (part, others)
        )
        rules = "".join(
            f"ip saddr {{ {source} }} ip daddr {{ {target} }} drop; "
            for source, target in ((one, other), (other, one))
        )
        chain = f"table ip {TABLE} {{ chain cut {{ type filter hook forward priority 0; {rules} }} }}"
        run(["ip", "netns", "exec", scene.switch, "nft", "-f", "-"], text_input=chain)

    return step


def mend(scene):
    """Let everything through again."""
    run(["ip", "netns", "exec", scene.switch, "nft", "delete", "table", "ip", TABLE])


def switchover(scene):
    """Hand the lead over, as an operator does."""
    (leader,) = scene.struck["leader"]
    scene.lab.salt(leader, "fanatico_patroni.switchover")


@dataclass(frozen=True)
class Fault:
    """One fault.

    number: its number in the matrix of faults. strike, heal: steps. failover: whether another database leads afterwards
    (None: it may). write_gap: seconds without an acknowledged write that no run may exceed. hold: seconds between strike
    and heal.
    """

    number: str
    what: str
    strike: Callable
    heal: Callable | None = None
    failover: bool | None = False
    write_gap: float = 0.5
    hold: float = 5.0


FAULTS = {
    # the primary
    "postgres-crash": Fault(
        "1", "PostgreSQL on the primary is killed", postgres("leader", "KILL"), failover=True, write_gap=5
    ),
    "patroni-kill": Fault(
        "12",
        "Patroni on the primary is killed; its unit starts it again",
        signal("leader", "patroni", "KILL"),
    ),
    "patroni-stop": Fault(
        *("15", "Patroni on the primary is stopped in order", unit("leader", "stop", "patroni")),
        heal=unit("leader", "start", "patroni"),
        failover=True,
        write_gap=5,
    ),
    "switchover": Fault("", "a planned switchover", switchover, failover=True, write_gap=5),
    "primary-power": Fault(
        *("17", "the primary's host loses its power", power("leader", on=False)),
        heal=power("leader", on=True),
        failover=True,
        write_gap=30,
        hold=32,
    ),
    "primary-isolated": Fault(
        *("24", "the primary's cable is pulled", cable("leader", plugged=False)),
        heal=cable("leader", plugged=True),
        failover=True,
        write_gap=30,
        hold=32,
    ),
    "primary-pause": Fault(
        *("22", "the primary's host stands still for 40 s", pause("leader", paused=True)),
        heal=pause("leader", paused=False),
        failover=True,
        write_gap=30,
        hold=40,
    ),
    "primary-without-etcd": Fault(
        "25", "the primary cannot reach etcd for 30 s", cut("leader", "etcd"), heal=mend, hold=30
    ),
    # a replica
    "replica-crash": Fault("8", "PostgreSQL on one replica is killed", postgres("replica", "KILL")),
    "replica-power": Fault(
        *("21", "a replica's host loses its power", power("replica", on=False)),
        heal=power("replica", on=True),
    ),
    # etcd
    "etcd-leader-kill": Fault("29", "etcd's leader is killed", signal("etcd_leader", "etcd", "KILL")),
    "etcd-leader-pause": Fault(
        *("29", "etcd's leader stands still for 30 s", signal("etcd_leader", "etcd", "STOP")),
        heal=signal("etcd_leader", "etcd", "CONT"),
        hold=30,
    ),
    "etcd-quorum-power": Fault(
        *("30", "two of three etcd hosts lose their power for a minute", power("etcd_majority", on=False)),
        heal=power("etcd_majority", on=True),
        hold=60,
    ),
    "etcd-all-power": Fault(
        *("31", "every etcd host loses its power for a minute", power("etcd", on=False)),
        heal=power("etcd", on=True),
        hold=60,
    ),
    # the balancers
    "haproxy-kill": Fault(
        "38",
        "HAProxy is killed where the virtual address is",
        signal("holder", "haproxy", "KILL", whom="all"),
    ),
    "haproxy-stop": Fault(
        *("38", "HAProxy is stopped where the virtual address is", unit("holder", "stop", "haproxy")),
        heal=unit("holder", "start", "haproxy"),
    ),
    "haproxy-pause": Fault(
        *(
            "39",
            "HAProxy stands still where the virtual address is",
            signal("holder", "haproxy", "STOP", whom="all"),
        ),
        heal=signal("holder", "haproxy", "CONT", whom="all"),
        write_gap=3,
    ),
    "balancer-power": Fault(
        *("40", "the host with the virtual address loses its power", power("holder", on=False)),
        heal=power("holder", on=True),
        write_gap=1.5,
    ),
    "keepalived-kill": Fault(
        "42",
        "Keepalived is killed where the virtual address is",
        signal("holder", "keepalived", "KILL", whom="all"),
        write_gap=1.5,
    ),
}


def named(word):
    """Return ``{name: Fault}`` for one name, or for ``all``. Raises KeyError."""
    return dict(FAULTS) if word == "all" else {word: FAULTS[word]}
