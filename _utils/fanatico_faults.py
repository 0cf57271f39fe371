"""
The faults: one record for each thing that can be wrong with a node although its units run. Pure.

A record names functions of execution modules. A probe returns what it found, or an empty text if there is no fault; so does a
proof. A cure takes a timeout in seconds, acts, and returns what it did. ``fanatico_cure`` calls these functions, the guard uses
the other fields. To add a fault: a record here, its functions in a module of its component, its row in docs/operations.md.
"""

import dataclasses

import fanatico_components

# What detects a fault: the node's beacon every few seconds; the node when fanatico.reconcile asks it, because the probe is too
# expensive for a beacon; or only the master, because it needs other hosts.
BEACON, NODE, MASTER = "beacon", "node", "master"


@dataclasses.dataclass(frozen=True)
class Fault:
    """A fault of a node: how it is detected, cured and verified, and the limits that the guard applies to its cure."""

    name: str
    component: str
    probe: str = ""
    beacon_probe: str = ""  # a faster probe for the beacon
    detected_by: str = BEACON
    cure: str = ""
    runner: str = ""  # replaces probe, cure and proof: the runner with which the master cures it
    proof: str = ""  # verifies the cure, where a probe that finds nothing is not enough
    samples: int | None = None  # consecutive probes that confirm the cure; default: pillar heal:samples
    unfixable_if: str = ""  # a probe: what it finds is the cause, and the cure stops because it cannot help
    replaces: str = ""  # returns the path of the data that the cure moves aside and deletes after the proof
    units: tuple[str, ...] = ()  # units that do not start correctly until this is cured
    needs: str = (
        ""  # what must stay up, see ``fanatico_guard.missing_redundancy``; empty: no node leaves service
    )
    timeout: int | None = None  # seconds for cure and proof; default: pillar heal:timeout
    min_age: str = ""  # the setting under `heal` with the seconds that the fault must last before it is cured
    opt_in: str = ""  # the setting under `heal` that enables the cure
    # For a fault without a cure, caused by configuration, a package, a path or load: what an operator does.
    next_step: str = ""

    @property
    def role(self):
        """The role whose nodes can have it; None for every node."""
        role, *_ = next(
            component.roles
            for component in fanatico_components.COMPONENTS
            if component.name == self.component
        )
        return None if role == fanatico_components.EVERY else role

    @property
    def runbook(self):
        """Its row in the runbook."""
        return f"docs/operations.md#{self.name}"


_ALL = (
    Fault(
        name="unprovisioned",
        component="base",
        probe="fanatico_cure.unprovisioned",
        detected_by=MASTER,
        cure="fanatico_node_cure.build",
        proof="fanatico_node_cure.unhealthy",
        needs="rebuild",
        timeout=600,
    ),
    Fault(
        name="drift",
        component="base",
        probe="fanatico_node_cure.drifted",
        detected_by=MASTER,
        cure="fanatico_node_cure.correct",
        samples=1,  # a probe is a dry run of the highstate: it costs as much as the cure, and drift does not flap
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
        name="replica-corrupt",
        component="postgresql",
        probe="fanatico_patroni_cure.replica_corrupt",
        detected_by=NODE,
        cure="fanatico_patroni_cure.clone",
        proof="fanatico_patroni_cure.not_streaming",
        replaces="fanatico_patroni_cure.data_directory",
        needs="replica",
        timeout=600,
    ),
    Fault(
        name="archiver-hung",
        component="archive",
        probe="fanatico_archive_cure.stuck",
        detected_by=NODE,
        cure="fanatico_archive_cure.restart",
        timeout=30,
    ),
    Fault(
        name="replica-not-streaming",
        component="postgresql",
        probe="fanatico_patroni_cure.replica_not_streaming",
        min_age="replica_detached_after",
        next_step="journalctl -u patroni on HOST shows why it cannot follow; to clone it again: "
        "salt HOST fanatico_patroni.reinitialize",
    ),
    Fault(
        name="postgres-failed",
        component="postgresql",
        probe="fanatico_patroni_cure.postgres_failed",
        next_step="correct the cause that PostgreSQL names (a parameter: in the pillar, then "
        "salt-run state.orchestrate orch.deploy); Patroni then restarts PostgreSQL",
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
_UNIT_DOWN = Fault(name="", component="")  # the cure starts the unit; no node leaves service


def of_roles(roles):
    """Return the names of the faults that a node with ``roles`` can have, without units that are down."""
    return [name for name, fault in FAULTS.items() if fault.role is None or fault.role in roles]


def of_node(roles):
    """Return the names of the faults that a node with ``roles`` can detect itself."""
    return [name for name in of_roles(roles) if FAULTS[name].detected_by != MASTER]


def of_beacon(roles):
    """Return the names of the faults that the beacon of a node with ``roles`` probes for every few seconds."""
    return [name for name in of_node(roles) if FAULTS[name].detected_by == BEACON]


def is_unit(what):
    """Tell whether ``what`` is a unit that is down, and not a fault with a record here."""
    return what not in FAULTS


def _of(what):
    return FAULTS.get(what, _UNIT_DOWN)


def cause(unit):
    """Return the fault that must be cured before ``unit`` can start; None if there is no such fault."""
    return next((fault for fault in FAULTS.values() if unit in fault.units), None)


def needs(what):
    """Return what must stay up during the cure; empty if no node leaves service, as when a unit is started."""
    return _of(what).needs


def opt_in(what):
    """Return the setting under ``heal`` that enables the cure; empty if it is always enabled."""
    return _of(what).opt_in


def next_step(what, host):
    """Return what an operator does about a fault that is reported and never cured; empty for a fault with a cure."""
    return _of(what).next_step.replace("HOST", host)


def runner(what):
    """Return the runner with which the master cures ``what``; empty if the host cures it."""
    return _of(what).runner


def timeout(what, conf):
    """Return the timeout of the cure of ``what``, in seconds; ``conf`` is the pillar's ``heal``."""
    return _of(what).timeout or conf["timeout"]


def min_age(what, conf):
    """Return the seconds that ``what`` must last before it is cured; ``conf`` is the pillar's ``heal``."""
    setting = _of(what).min_age
    return conf[setting] if setting else 0
