"""
What can be wrong with a node although its units run: one record for each fault, and what follows from them. Pure.

Probes, cures and proofs are functions of execution modules, since they ask and act through Salt; a record has their names. A
probe returns what was seen, and an empty text where all is well; a proof likewise. A cure takes the seconds that it has, acts,
and returns what it did. ``fanatico_cure`` calls them, the guard judges by the rest. To add a fault: a record here, its functions
in a module of its component, its row in docs/operations.md.
"""

import dataclasses

import fanatico_components

# Who can tell that a node has a fault: its beacon every few seconds, the node where it is asked (fanatico.reconcile), since its
# probe is too much work for a beacon, or only the master, since no node can alone.
BEACON, NODE, MASTER = "beacon", "node", "master"


@dataclasses.dataclass(frozen=True)
class Fault:
    """A fault of a node, how it is told, cured and proven, and what the guard has to know of it."""

    name: str
    component: str
    probe: str = ""
    beacon_probe: str = ""  # the same in less time, for the beacon
    detected_by: str = BEACON
    cure: str = ""
    runner: str = ""  # in place of probe, cure and proof: the master sees to all of it, by this
    proof: str = ""  # where that the probe finds nothing more is not enough
    samples: int | None = None  # so many in a row prove it; pillar heal:samples without it
    unfixable_if: str = ""  # a probe: what it finds is the cause, and this cure can do no more about it
    replaces: str = (
        ""  # returns the path of the data that the cure puts aside, and removes once the end is proven
    )
    units: tuple[str, ...] = ()  # that would not start, or not rightly, before this is cured
    needs: str = ""  # what must stay up, see ``fanatico_guard.missing_redundancy``; empty: no node is taken out of service
    timeout: int | None = None  # seconds to cure and prove it; pillar heal:timeout without it
    min_age: str = ""  # the setting under `heal` with the seconds that it has to last first
    opt_in: str = ""  # the setting under `heal` that allows the cure at all
    # It has no cure: a configuration, a package, a path or load is wrong, and the data may be whole. What a person does.
    next_step: str = ""

    @property
    def role(self):
        """The role whose nodes can have it; None: all."""
        role, *_ = next(one.roles for one in fanatico_components.COMPONENTS if one.name == self.component)
        return None if role == fanatico_components.EVERY else role

    @property
    def runbook(self):
        """Where it is written about."""
        return f"docs/operations.md#{self.name}"


_ALL = (
    Fault(
        name="unprovisioned",
        component="base",
        probe="fanatico_cure.unprovisioned",
        detected_by=MASTER,
        cure="fanatico_node_cure.build",
        proof="fanatico_node_cure.unhealthy",
        needs="rest",
        timeout=600,
    ),
    Fault(
        name="drift",
        component="base",
        probe="fanatico_node_cure.drifted",
        detected_by=MASTER,
        cure="fanatico_node_cure.correct",
        samples=1,  # one costs as much as the cure, and nothing comes and goes
        timeout=300,
        opt_in="auto_remediate_drift",
    ),
    Fault(
        name="key-denied",
        component="minion",
        detected_by=MASTER,
        runner="fanatico.renew_key",
        timeout=60,
    ),
    Fault(
        name="certificate-ending",
        component="base",
        probe="fanatico_pki.expiring",
        detected_by=NODE,
        cure="fanatico_pki.renew",
        samples=1,
        timeout=180,
    ),
    Fault(
        name="firewall-gone",
        component="firewall",
        probe="fanatico_firewall.missing",
        cure="fanatico_firewall.load_again",
        timeout=30,
    ),
    Fault(
        name="disk-full",
        component="base",
        probe="fanatico_node_cure.disk_full",
        cure="fanatico_node_cure.make_room",
        timeout=60,
    ),
    Fault(
        name="etcd-data-lost",
        component="etcd",
        probe="fanatico_etcd_cure.data_lost",
        cure="fanatico_etcd_cure.rejoin",
        proof="fanatico_etcd_cure.unable_to_vote",
        replaces="fanatico_etcd_cure.member_directory",
        units=("etcd.service",),
        needs="quorum",
        timeout=120,
    ),
    Fault(
        name="etcd-full",
        component="etcd",
        probe="fanatico_etcd_cure.full",
        cure="fanatico_etcd_cure.make_room",
        timeout=60,
    ),
    Fault(
        name="patroni-hung",
        component="patroni",
        probe="fanatico_patroni_cure.hung",
        cure="fanatico_patroni_cure.restart",
        timeout=60,
    ),
    Fault(
        name="patroni-paused",
        component="patroni",
        probe="fanatico_patroni_cure.paused",
        cure="fanatico_patroni_cure.resume",
        timeout=30,
        min_age="max_pause",
    ),
    Fault(
        name="replica-unusable",
        component="postgresql",
        probe="fanatico_patroni_cure.replica_unusable",
        cure="fanatico_patroni_cure.clone",
        proof="fanatico_patroni_cure.not_streaming",
        unfixable_if="fanatico_patroni_cure.postgres_failed",
        replaces="fanatico_patroni_cure.data_directory",
        needs="replica",
        timeout=600,
    ),
    Fault(
        name="replica-not-streaming",
        component="postgresql",
        probe="fanatico_patroni_cure.replica_not_streaming",
        min_age="replica_detached_after",
        next_step="put right what keeps it from following; `salt HOST fanatico_patroni.reinitialize` copies it again",
    ),
    Fault(
        name="postgres-failed",
        component="postgresql",
        probe="fanatico_patroni_cure.postgres_failed",
        next_step="put right what PostgreSQL names, a parameter in the pillar by orch.deploy; Patroni starts it again by itself",
    ),
    Fault(
        name="haproxy-unconfigured",
        component="haproxy",
        probe="fanatico_haproxy_cure.unconfigured",
        cure="fanatico_haproxy_cure.configure",
        units=("haproxy.service", "haproxy-edge.service"),
        timeout=90,
    ),
    Fault(
        name="keepalived-hung",
        component="keepalived",
        probe="fanatico_keepalived.hung",
        cure="fanatico_keepalived.force_election",
        timeout=30,
    ),
    Fault(
        name="vip-down",
        component="keepalived",
        probe="fanatico_keepalived.vip_down",
        cure="fanatico_keepalived.force_election",
        timeout=30,
    ),
    Fault(
        name="vip-duplicate",
        component="keepalived",
        probe="fanatico_keepalived.vip_duplicate",
        detected_by=MASTER,
        cure="fanatico_keepalived.force_election",
        proof="fanatico_keepalived.address_unsettled",
        timeout=30,
    ),
    Fault(
        name="writes-stalled",
        component="postgresql",
        probe="fanatico_patroni_cure.writes_stalled",
        detected_by=MASTER,
        cure="fanatico_patroni_cure.switchover",
        needs="successor",
        timeout=90,
        opt_in="switchover",
    ),
    Fault(
        name="rpc-hung",
        component="rpc",
        probe="fanatico_rpc_cure.hung",
        beacon_probe="fanatico_rpc_cure.hung_nowait",
        cure="fanatico_rpc_cure.restart",
        needs="another",
        timeout=60,
    ),
    Fault(
        name="rpc-behind",
        component="rpc",
        probe="fanatico_rpc_cure.behind",
        cure="fanatico_rpc_cure.restart_all",
        needs="another",
        timeout=120,
    ),
)
FAULTS = {fault.name: fault for fault in _ALL}
_UNIT_DOWN = Fault(name="", component="")  # a unit is started, and takes nobody out of service


def of_roles(roles):
    """Return the faults that a node with ``roles`` can have, without those of its units."""
    return [name for name, fault in FAULTS.items() if fault.role is None or fault.role in roles]


def of_node(roles):
    """Return the faults that a node with ``roles`` can tell of itself."""
    return [name for name in of_roles(roles) if FAULTS[name].detected_by != MASTER]


def of_beacon(roles):
    """Return those of ``own`` that can be looked for every few seconds."""
    return [name for name in of_node(roles) if FAULTS[name].detected_by == BEACON]


def is_unit(what):
    """Tell whether what is wrong is that a unit is down; everything else has a record here."""
    return what not in FAULTS


def _of(what):
    return FAULTS.get(what, _UNIT_DOWN)


def cause(unit):
    """Return the fault that has to be cured before ``unit`` is started, if the node has it; None without any."""
    return next((fault for fault in FAULTS.values() if unit in fault.units), None)


def needs(what):
    """Return what a cure has to leave standing; empty where nobody is taken out of service, as by the start of a unit."""
    return _of(what).needs


def opt_in(what):
    """Return the setting under ``heal`` that allows the cure at all; empty where none has to."""
    return _of(what).opt_in


def next_step(what, host):
    """Return what a person does about a fault that is reported and never cured; empty for one that is cured."""
    return _of(what).next_step.replace("HOST", host)


def runner(what):
    """Return the runner by which the master cures it; empty where the host does."""
    return _of(what).runner


def timeout(what, conf):
    """Return the seconds that curing ``what`` may take; ``conf`` is the pillar's ``heal``."""
    return _of(what).timeout or conf["timeout"]


def min_age(what, conf):
    """Return how many seconds ``what`` has to last before it is one for us to cure."""
    setting = _of(what).min_age
    return conf[setting] if setting else 0
