"""
The components: one record each, with everything that code outside of its states and module needs. Data only.

Roles, secrets, ports, certificates, healed units, health checks, firewall and the first phase of a deploy derive from these
records. ``pillar/top.sls``, ``pillar/schema.json`` and ``salt/roles/`` must be readable without our modules;
``tests/unit/test_components.py`` compares them with the records. How to add a component: CONTRIBUTING.md.
"""

import dataclasses

# Instead of a role: every node.
EVERY = "every"

SERVER, CLIENT = "serverAuth", "clientAuth"

# Any value that is not empty, for Unit.when.
ANY = object()
# The setting that switches the repository in S3 on.
S3 = ("backup:s3:bucket", ANY)


@dataclasses.dataclass(frozen=True)
class Unit:
    """A systemd unit that runs on every node of the component."""

    name: str
    # (pillar path, value): the unit exists only with this setting; ANY: with any value that is not empty.
    when: tuple[str, object] | None = None
    # False: health checks it, but only systemd restarts it.
    healed: bool = True
    # False: without it the host still serves its roles.
    essential: bool = True
    # The unit exists only where the plan has a node with this role.
    beside: str = ""


@dataclasses.dataclass(frozen=True)
class Port:
    """A TCP port: a key of ``plan:ports``, or a fixed ``number``."""

    name: str
    # Who may connect: roles, components, ``EVERY``, or a keyword of fanatico_firewall: "anybody"; "clients" and "monitoring",
    # networks of the pillar ("clients" includes the networks of the plan); "following", the chain nodes if they follow each
    # other by JSON-RPC.
    senders: tuple[str, ...]
    # Used if the plan does not set it.
    default: int | None = None
    # A fixed port that the plan cannot change.
    number: int | None = None
    # A running cluster cannot change it in place.
    immutable: bool = False


@dataclasses.dataclass(frozen=True)
class Pki:
    """The certificates of a component. They are in one folder that its daemon may enter."""

    folder: str
    # The user that may read the keys.
    owner: str
    # {authority: extended key usages of its certificate}
    certificates: dict[str, tuple[str, ...]]
    # Authorities whose servers it verifies without having a certificate of them.
    trusts: tuple[str, ...] = ()
    # {name: (authority, user of etcd)}. Such a certificate alone authenticates the user, so the user has minimal rights; the key
    # belongs to root.
    users: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Backend:
    """A backend of HAProxy, and how many of its servers are up when all is well."""

    name: str
    # The role of its servers.
    of: str
    # "one", "all", or "others" (all but one).
    up: str


@dataclasses.dataclass(frozen=True, eq=False)
class Component:
    """A component. Its states are in ``salt/<name>/``."""

    name: str
    # The roles whose nodes have it.
    roles: tuple[str, ...]
    # A plan may have no node with its role.
    optional: bool = False
    # Pillar files of its nodes, by name: pillar/<name>.sls.
    settings: tuple[str, ...] = ()
    # Pillar paths in these files that only its nodes get, even if other nodes get the file: they may hold tokens.
    private: tuple[str, ...] = ()
    # States that a deploy applies first, on all machines in parallel: they need no other machine.
    prepared: tuple[str, ...] = ()
    units: tuple[Unit, ...] = ()
    ports: tuple[Port, ...] = ()
    # Its ports are also open at the virtual IP.
    at_virtual_ip: bool = False
    # Secrets of its roles, names in pillar/secrets/<role>.sls.
    secrets: tuple[str, ...] = ()
    # Those of them that a rotation does not replace: what they encrypt would be lost.
    lasting: tuple[str, ...] = ()
    # {name: pillar path}: secrets of its roles that others issue. They are imported, never generated or rotated, and needed only
    # where the setting is not empty.
    imported: dict[str, str] = dataclasses.field(default_factory=dict)
    pki: Pki | None = None
    # Its data directories: paths, or the pillar paths of them.
    data: tuple[str, ...] = ()
    # Execution modules with its health checks, without `fanatico_`: each has `probe(timeout)`.
    health_modules: tuple[str, ...] = ()
    # The check of fanatico.health that shows whether the node serves its role.
    serving_check: str = ""
    # What must be healthy on other hosts while a host is rebuilt, see ``fanatico_guard.missing_redundancy``.
    rebuild_needs: str = ""
    # Pillar paths that a running cluster cannot change in place, besides ports.
    immutable: tuple[str, ...] = ()
    backends: tuple[Backend, ...] = ()
    # Debian packages that only its states upgrade, in the syntax of Unattended-Upgrade::Package-Blacklist.
    packages: tuple[str, ...] = ()
    # Services that only its states restart: names, or prefixes with `*`.
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
        settings=("master", "backup"),
        prepared=("roles.master",),
        units=(
            Unit("salt-master.service", healed=False),
            Unit("fanatico-master-backup.timer", healed=False, essential=False),
        ),
        ports=(
            Port("salt_publish", senders=(EVERY,), number=4505),
            Port("salt_request", senders=(EVERY,), number=4506),
        ),
        secrets=("MASTER_BACKUP_PASSPHRASE",),
        lasting=("MASTER_BACKUP_PASSPHRASE",),
        data=("/var/lib/fanatico", "/var/cache/salt"),
        health_modules=("master_backup",),
        services=("salt-*", "fanatico-*"),
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
        # Patroni's password too: the etcd nodes create the user that Patroni logs in as.
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
        immutable=("plan:name", "etcd:data_dir"),  # Patroni's keys contain the name
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
        units=(Unit("fanatico-heartbeat.timer", essential=False, beside="backup"),),
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
        services=("postgresql*", "fanatico-*"),
    ),
    # The tool of the backups, on both sides of the connection between a database host and the repository.
    Component(
        name="archive",
        roles=("patroni", "backup"),
        settings=("backup", "postgresql"),
        prepared=("archive.certified",),
        units=(Unit("pgbackrest.service", essential=False, beside="backup"),),
        ports=(Port("pgbackrest", senders=("backup",), default=8432),),
        pki=Pki(folder="/etc/pgbackrest/pki", owner="postgres", certificates={"backup": (SERVER, CLIENT)}),
        health_modules=("archive",),
        packages=("pgbackrest$",),
        services=("pgbackrest",),
    ),
    # The repository, and what runs by its clock.
    Component(
        name="backup",
        roles=("backup",),
        optional=True,
        settings=("backup",),
        ports=(Port("pgbackrest", senders=("patroni",), default=8432),),
        units=(
            Unit("fanatico-backup-full.timer"),
            Unit("fanatico-backup-diff.timer"),
            Unit("fanatico-backup-incr.timer"),
            Unit("fanatico-backup-verify.timer"),
            Unit("fanatico-backup-drill.timer"),
            Unit("fanatico-backup-s3-wal.service", when=S3, essential=False),
            *(
                Unit(f"fanatico-backup-s3-{name}.timer", when=S3)
                for name in ("full", "diff", "incr", "verify")
            ),
        ),
        secrets=("BACKUP_PASSPHRASE",),
        lasting=("BACKUP_PASSPHRASE",),
        imported={"BACKUP_S3_KEY": S3[0], "BACKUP_S3_KEY_SECRET": S3[0]},
        data=("backup:path",),
        health_modules=("backup", "master_copy"),
        serving_check="backup.repository",
        services=("fanatico-*",),
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
        # HAProxy reads the key as root before it drops privileges. The edge uses the same key.
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
            # A node answers methods that the balancers refuse, so another node may connect only if it follows (rpc:follow).
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
