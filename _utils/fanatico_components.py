"""
The components: one record for each, with all that is known of it outside its own states and module. Data only.

Roles, secrets, ports, certificates, units to keep running, health, firewall and what a first deploy prepares follow from here.
What has to stay readable without our modules (``pillar/top.sls``, ``pillar/schema.json``, ``salt/roles/``) is held against the
records by ``tests/unit/test_components.py``. How to add one: CONTRIBUTING.md.
"""

import dataclasses

# In the place of a role: every node has it.
EVERY = "every"

SERVER, CLIENT = "serverAuth", "clientAuth"


@dataclasses.dataclass(frozen=True)
class Unit:
    """A unit that runs wherever the component is."""

    name: str
    # (pillar path, value): it exists under that setting only.
    when: tuple[str, object] | None = None
    # False: health looks at it, and nothing but systemd starts it again.
    healed: bool = True
    # False: without it the host still does what its roles are there for.
    essential: bool = True


@dataclasses.dataclass(frozen=True)
class Port:
    """A TCP port, a key of ``plan:ports`` unless it has a ``number``."""

    name: str
    # Roles or components that may connect, ``EVERY``, or one of the words that fanatico_firewall knows: "anybody" · "clients" and
    # "monitoring", networks of the pillar, the plan's own being clients too · "following", the chain nodes where they follow
    # each other by JSON-RPC.
    senders: tuple[str, ...]
    # For a plan that does not name it.
    default: int | None = None
    # Of a port that no plan can change.
    number: int | None = None
    # The hosts agreed on it when they met: a running cluster cannot change it in place.
    immutable: bool = False


@dataclasses.dataclass(frozen=True)
class Pki:
    """The certificates of a component. One folder, that its daemon may enter."""

    folder: str
    # Whoever reads the keys.
    owner: str
    # {authority: what its certificate is good for}
    certificates: dict[str, tuple[str, ...]]
    # Authorities whose servers it has to know, and of which it holds no certificate itself.
    trusts: tuple[str, ...] = ()
    # {name: (authority, the user of etcd that it is)}. Such a certificate is all its user needs to be let in, so the user may do
    # next to nothing; its key is root's.
    users: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Backend:
    """What a backend of HAProxy owes by the plan: the nodes of ``of``, less those that by design take no traffic there."""

    name: str
    of: str
    # "one", "all", or "others": all but one.
    up: str


@dataclasses.dataclass(frozen=True, eq=False)
class Component:
    """What is known of a component. ``salt/<name>/`` are its states."""

    name: str
    # The roles whose nodes have it.
    roles: tuple[str, ...]
    # Files of the pillar that its nodes are given, by their names: pillar/<name>.sls.
    settings: tuple[str, ...] = ()
    # Pillar paths in those that no other node is given, whoever else is given the file: people put tokens there.
    private: tuple[str, ...] = ()
    # States that a deploy begins with, on all machines at once: they need no other machine.
    prepared: tuple[str, ...] = ()
    units: tuple[Unit, ...] = ()
    ports: tuple[Port, ...] = ()
    # Its ports are open at the virtual IP too.
    at_virtual_ip: bool = False
    # Names in pillar/secrets/<role>.sls of its roles.
    secrets: tuple[str, ...] = ()
    pki: Pki | None = None
    # Where its data lie: a path, or the pillar path of one.
    data: tuple[str, ...] = ()
    # Execution modules that look after it, without `fanatico_`: each has `look(timeout)`.
    health_modules: tuple[str, ...] = ()
    # The check of fanatico.health that says whether it does what its role is there for.
    serving_check: str = ""
    # What of the others a host needs while it is rebuilt into its role, as ``fanatico_guard.missing_redundancy`` knows it.
    rebuild_needs: str = ""
    # Pillar paths that its hosts agreed on when they met, beside ports: a running cluster cannot change them in place.
    immutable: tuple[str, ...] = ()
    backends: tuple[Backend, ...] = ()
    # Debian packages that only its states upgrade, as Unattended-Upgrade::Package-Blacklist takes them.
    packages: tuple[str, ...] = ()
    # Services that only its states restart, by name, or by what a name begins with (`*`).
    services: tuple[str, ...] = ()


COMPONENTS = (
    Component(
        name="base",
        roles=(EVERY,),
        settings=("plan", "base", "pki", "heal", "orch"),
        prepared=("base",),
        health_modules=("node",),
    ),
    Component(
        name="firewall",
        roles=(EVERY,),
        settings=("firewall",),
        prepared=("firewall",),
        services=("fanatico-*",),
    ),
    Component(
        name="minion",
        roles=(EVERY,),
        settings=("minion",),
        prepared=("minion",),
        units=(Unit("salt-minion.service", healed=False),),
        services=("salt-*",),
    ),
    Component(
        name="node_exporter",
        roles=(EVERY,),
        settings=("node_exporter",),
        prepared=("node_exporter",),
        units=(Unit("prometheus-node-exporter.service", essential=False),),
        ports=(Port("node_exporter", senders=("master",), default=9100),),
        pki=Pki(
            folder="/etc/prometheus-node-exporter/pki",
            owner="prometheus",
            certificates={"monitor": (SERVER, CLIENT)},
        ),
        health_modules=("node_exporter",),
        packages=("prometheus-node-exporter$",),
        services=("prometheus-node-exporter",),
    ),
    Component(
        name="master",
        roles=("master",),
        settings=("master",),
        prepared=("roles.master",),
        units=(Unit("salt-master.service", healed=False),),
        ports=(
            Port("salt_publish", senders=(EVERY,), number=4505),
            Port("salt_request", senders=(EVERY,), number=4506),
        ),
        data=("/var/lib/fanatico", "/var/cache/salt"),
        services=("salt-*",),
    ),
    Component(
        name="etcd",
        roles=("etcd",),
        settings=("etcd",),
        prepared=("etcd.certified",),
        units=(Unit("etcd.service"),),
        ports=(
            Port("etcd_client", senders=("etcd", "patroni"), immutable=True),
            Port("etcd_peer", senders=("etcd",), immutable=True),
            Port("etcd_metrics", senders=("monitoring",)),
        ),
        # Patroni's password is its too: etcd's nodes make the user that Patroni's log in as.
        secrets=("ETCD_CLUSTER_TOKEN", "ETCD_ROOT_PASSWORD", "ETCD_PATRONI_PASSWORD", "ETCD_TOKEN_KEY"),
        pki=Pki(
            folder="/etc/etcd/pki",
            owner="etcd",
            certificates={"etcd": (SERVER, CLIENT), "etcd-peer": (SERVER, CLIENT)},
            users={"etcd-health": ("etcd", "health")},
        ),
        data=("etcd:data_dir",),
        health_modules=("etcd",),
        serving_check="etcd.serving",
        rebuild_needs="quorum",
        immutable=("plan:name", "etcd:data_dir"),  # Patroni's keys stand under the name
        packages=("etcd-",),
        services=("etcd",),
    ),
    Component(
        name="patroni",
        roles=("patroni",),
        settings=("patroni",),
        prepared=("patroni.certified",),
        units=(Unit("patroni.service"),),
        ports=(Port("patroni_rest", senders=("haproxy", "master", "patroni", "monitoring"), immutable=True),),
        secrets=("PATRONI_REST_PASSWORD", "ETCD_PATRONI_PASSWORD"),
        pki=Pki(
            folder="/etc/patroni/pki",
            owner="postgres",
            certificates={"etcd": (CLIENT,), "service": (SERVER, CLIENT)},
        ),
        health_modules=("patroni",),
        serving_check="patroni.state",
        rebuild_needs="leader",
        immutable=("plan:name",),
        packages=("patroni$", "python3-etcd$"),
        services=("patroni",),
    ),
    Component(
        name="postgresql",
        roles=("patroni",),
        settings=("postgresql",),
        ports=(Port("postgres", senders=("haproxy", "patroni"), immutable=True),),
        secrets=(
            "POSTGRES_SUPERUSER_PASSWORD",
            "POSTGRES_ADMIN_PASSWORD",
            "POSTGRES_REPLICATOR_PASSWORD",
            "POSTGRES_REWIND_PASSWORD",
            "POSTGRES_FANATICO_PASSWORD",
            "POSTGRES_PROOF_PASSWORD",
        ),
        data=("postgresql:data_dir",),
        health_modules=("postgres",),
        immutable=("postgresql:version", "postgresql:data_dir"),
        packages=("postgresql-",),
        services=("postgresql*",),
    ),
    Component(
        name="haproxy",
        roles=("haproxy",),
        settings=("haproxy",),
        prepared=("haproxy.certified",),
        units=(Unit("haproxy.service"),),
        ports=(
            Port("postgres_primary", senders=("clients",), immutable=True),
            Port("postgres_replica", senders=("clients",), immutable=True),
            Port("haproxy_stats", senders=("haproxy", "master", "monitoring")),
            Port("haproxy_peers", senders=("haproxy",), default=8405, immutable=True),
        ),
        at_virtual_ip=True,
        secrets=("HAPROXY_STATS_PASSWORD",),
        # HAProxy reads the key as root, before it gives up being root. The edge uses the same.
        pki=Pki(
            folder="/etc/haproxy/pki", owner="root", certificates={"edge": (SERVER,)}, trusts=("service",)
        ),
        health_modules=("haproxy",),
        serving_check="haproxy.serving",
        rebuild_needs="another",
        backends=(
            Backend("postgres_primary", of="patroni", up="one"),
            Backend("postgres_replica", of="patroni", up="others"),
        ),
        packages=("haproxy$",),
        services=("haproxy",),
    ),
    Component(
        name="edge",
        roles=("haproxy",),
        settings=("haproxy", "rpc", "cloudflare"),
        units=(Unit("haproxy-edge.service"),),
        ports=(
            Port("rpc_http", senders=("anybody",), immutable=True),
            Port("rpc_ws", senders=("anybody",), immutable=True),
            Port("rpc_https", senders=("anybody",)),
            Port("rpc_wss", senders=("anybody",)),
            Port("edge_stats", senders=("haproxy", "master", "monitoring"), default=8406),
        ),
        at_virtual_ip=True,
        backends=(Backend("rpc_http", of="rpc", up="all"), Backend("rpc_ws", of="rpc", up="all")),
    ),
    Component(
        name="keepalived",
        roles=("haproxy",),
        settings=("keepalived",),
        prepared=("keepalived.installed",),
        units=(Unit("keepalived.service"),),
        secrets=("KEEPALIVED_AUTH_PASS",),
        health_modules=("keepalived",),
        immutable=("plan:virtual_ip:address", "plan:virtual_ip:router_id"),
        packages=("keepalived$",),
        services=("keepalived",),
    ),
    Component(
        name="rpc",
        roles=("rpc",),
        settings=("rpc",),
        private=("rpc:exec", "rpc:artifact"),
        prepared=("rpc.installed",),
        units=(
            Unit("fanatico-rpc.service"),
            Unit("fanatico-rpc-agent.socket"),
            Unit("fanatico-rpc-agent.service"),
            Unit("fanatico-rpc-ws.service", when=("rpc:ws", "proxy")),
            Unit("fanatico-rpc-follow.service", when=("rpc:follow", True)),
        ),
        ports=(
            # What nobody may ask through the balancers, a node answers: another node is let in only as one that follows
            # (rpc:follow).
            Port("rpc_http", senders=("haproxy", "following"), immutable=True),
            Port("rpc_ws", senders=("haproxy",), immutable=True),
            Port("rpc_agent", senders=("haproxy", "rpc"), default=8547, immutable=True),
        ),
        health_modules=("rpc",),
        serving_check="rpc.http",
        rebuild_needs="another",
        services=("fanatico-*",),
    ),
)
