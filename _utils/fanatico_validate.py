"""
Validate a pillar and report all faults at once.

``fanatico_schema`` checks the structure against ``pillar/schema.json``; this file and ``fanatico_postgres_limits`` check the
meaning. A fault is one line: the pillar path, what is wrong, what is correct. Of secrets only the names are checked here; see
``fanatico_secrets``.
"""

import ipaddress
import itertools
from typing import Any

import fanatico_backup_limits
import fanatico_capacity
import fanatico_plan
import fanatico_postgres_limits
import fanatico_schema
import fanatico_version

_EDGE_FILES = 262144  # LimitNOFILE of haproxy-edge.service
_WATCHDOG_MARGIN = (
    5  # seconds; the watchdog resets the host that long before the lease expires (Patroni's default)
)


def faults(pillar, schema):
    """
    Return all faults of ``pillar`` as lines ``path: what is wrong; what is correct``; empty if it is valid.

    pillar
        The pillars of all nodes, merged into one dict.
    schema
        Its JSON Schema.
    """
    malformed = list(fanatico_schema.faults(pillar, schema))
    wrong = [path for path, _ in malformed]
    sound = fanatico_schema.without(pillar, wrong)
    found = [(path, text) for check in _CHECKS for path, text in check(sound) if path not in wrong]
    return [f"{':'.join(map(str, path))}: {text}" for path, text in malformed + found]


# Each check gets a pillar that matches the schema; any key may be missing.


_get = fanatico_plan.present


def _nodes(pillar, role=None):
    """Return ``{id: node}`` of the nodes with a role or component; by default of all nodes."""
    nodes = _get(pillar, "plan:nodes", {})
    return {
        name: node
        for name, node in nodes.items()
        if role is None or fanatico_plan.held(node.get("roles", ()), role)
    }


def _evicted(pillar):
    return {name: node for name, node in _get(pillar, "plan:evicted", {}).items() if isinstance(node, dict)}


def _addresses(pillar, role=None):
    return {name: node["address"] for name, node in _nodes(pillar, role).items() if "address" in node}


def _networks(pillar):
    return {
        name: ipaddress.ip_network(net["cidr"]) for name, net in _get(pillar, "plan:networks", {}).items()
    }


def _network_faults(pillar):
    networks = _networks(pillar)
    for (name, net), (other, other_net) in itertools.combinations(networks.items(), 2):
        if net.overlaps(other_net):
            yield (
                ["plan", "networks", other, "cidr"],
                f"{other_net} overlaps {net} ({name}); use separate ranges",
            )
    for name, net in networks.items():
        gateway = _get(pillar, f"plan:networks:{name}:gateway")
        if gateway:
            yield from _in_network(["plan", "networks", name, "gateway"], gateway, {name: net})


def _address_faults(pillar):
    networks = _networks(pillar)
    owners: dict[Any, Any] = {}
    for name in networks:
        gateway = _get(pillar, f"plan:networks:{name}:gateway")
        if gateway:
            owners.setdefault(gateway, f"the gateway of network {name}")
    for name, address in _addresses(pillar).items():
        path = ["plan", "nodes", name, "address"]
        owner = owners.setdefault(address, name)
        if owner != name:
            yield path, f"{address} already belongs to {owner}; use a unique address"
        if networks:
            yield from _in_network(path, address, networks)
    virtual = _get(pillar, "plan:virtual_ip:address")
    if virtual in owners:
        text = f"{virtual} already belongs to {owners[virtual]}; the virtual IP must be unused"
        yield ["plan", "virtual_ip", "address"], text


def _in_network(path, address, networks):
    ip = ipaddress.ip_address(address)
    home = next((net for net in networks.values() if ip in net), None)
    if home is None:
        listed = ", ".join(f"{name} {net}" for name, net in networks.items())
        yield (
            path,
            f"{address} is outside {'all networks' if len(networks) > 1 else 'its network'} ({listed})",
        )
    elif home.prefixlen < 31 and ip in (home.network_address, home.broadcast_address):
        first, last = home.network_address + 1, home.broadcast_address - 1
        yield path, f"{address} is the network or broadcast address of {home}; use {first} to {last}"


def _virtual_ip_faults(pillar):
    """Yield haproxy nodes or a virtual IP outside of their common network: VRRP works inside one network."""
    networks = _networks(pillar)
    homes = {}
    for name, address in _addresses(pillar, "haproxy").items():
        ip = ipaddress.ip_address(address)
        homes.update({net: name for net in networks.values() if ip in net and net not in homes})
    if len(homes) > 1:
        (net, name), (other_net, other) = list(homes.items())[:2]
        text = (
            f"haproxy nodes must be in one network for VRRP, but {name} is in {net}, {other} in {other_net}"
        )
        yield ["plan", "nodes", other, "address"], text
    virtual = _get(pillar, "plan:virtual_ip:address")
    if virtual and len(homes) == 1:
        yield from _in_network(
            ["plan", "virtual_ip", "address"], virtual, {"of the haproxy nodes": next(iter(homes))}
        )


def _role_faults(pillar):
    path = ["plan", "nodes"]
    if not all("roles" in node for node in _nodes(pillar).values()) or not _nodes(pillar):
        return  # the roles are not known
    for role in fanatico_plan.ROLES:
        if not _nodes(pillar, role) and role not in fanatico_plan.OPTIONAL:
            yield path, f"no node has the role {role}; give it to at least one"
    etcd, masters = _nodes(pillar, "etcd"), _nodes(pillar, "master")
    lost = [name for name, node in _evicted(pillar).items() if "etcd" in node.get("roles", ())]
    if etcd and len(etcd) % 2 == 0 and not lost:  # an evicted host may not be replaced yet
        text = f"{len(etcd)} nodes have the role etcd ({', '.join(etcd)}), and one less tolerates as many failures"
        yield path, f"{text}; use 1, 3, 5 or 7"
    if len(etcd) > 7:
        yield path, f"{len(etcd)} nodes have the role etcd; use at most 7, more make every write slower"
    if len(masters) > 1:
        yield path, f"{len(masters)} nodes have the role master ({', '.join(masters)}); use one"
    dynamic = _get(pillar, "patroni:dynamic", {})
    strict = dynamic.get("synchronous_mode_strict") and dynamic.get("synchronous_mode") not in (
        None,
        False,
        "off",
    )
    if len(_nodes(pillar, "patroni")) == 1 and strict:
        text = "with a single patroni node no replica can confirm a write, and every write would wait forever"
        yield ["patroni", "dynamic", "synchronous_mode_strict"], f"{text}; add a node, or set it to false"


def _evicted_faults(pillar):
    """Yield evicted hosts that are still nodes, or whose address is in use: the firewalls drop all packets from it."""
    nodes, evicted = _nodes(pillar), _evicted(pillar)
    addresses = {address: name for name, address in _addresses(pillar).items()}
    virtual = _get(pillar, "plan:virtual_ip:address")
    for name, node in evicted.items():
        path, address = ["plan", "evicted", name], node.get("address")
        if name in nodes:
            yield (
                path,
                "is also under plan:nodes; an evicted host is no node: remove one of the two lines",
            )
        elif address in addresses:
            text = f"{address} also belongs to {addresses[address]}, whose packets every host would drop"
            yield [*path, "address"], f"{text}; give {addresses[address]} another address"
        if virtual and address == virtual:
            yield [*path, "address"], f"{address} is the virtual IP, whose packets every host would drop"
        if "master" in node.get("roles", ()):
            yield [*path, "roles"], "the Salt master cannot be evicted: it carries out the eviction"


def _port_faults(pillar):
    ports = _get(pillar, "plan:ports", {})
    reported = set()
    for name, node in _nodes(pillar).items():
        path, roles = ["plan", "nodes", name, "roles"], node.get("roles", ())
        if {"haproxy", "rpc"} <= set(roles):
            text = "haproxy and rpc cannot share a node: both listen on plan:ports:rpc_http and rpc_ws"
            yield path, f"{text}; put one of them elsewhere"
        components = fanatico_plan.components(roles)
        mine = [(component, port) for component in components for port in component.ports]
        taken = {_get(pillar, "firewall:ssh_port"): "sshd"}
        taken |= {
            port.number: component.units[0].name.removesuffix(".service")
            for component, port in mine
            if port.number
        }
        names = {port.name for _, port in mine}
        for key in (key for key in ports if key in names):
            owner = taken.setdefault(ports[key], key)
            if owner != key and (key, owner) not in reported:
                reported.add((key, owner))
                text = f"{ports[key]} is also the port of {owner}, and {name} has both; give one of them another port"
                yield ["plan", "ports", key], text


def _timing_faults(pillar):
    patroni = _get(pillar, "plan:timing:patroni", {})
    if {"ttl", "loop_wait", "retry_timeout"} <= patroni.keys():
        needed = patroni["loop_wait"] + 2 * patroni["retry_timeout"]
        left = patroni["ttl"] - _WATCHDOG_MARGIN - patroni["loop_wait"] - patroni["retry_timeout"]
        if needed > patroni["ttl"]:
            text = (
                f"{patroni['ttl']} is less than loop_wait + 2 * retry_timeout ({needed}), Patroni's own limit"
            )
            yield ["plan", "timing", "patroni", "ttl"], f"{text}; raise ttl or lower the others"
        elif patroni.get("primary_stop_timeout", 0) > left and _get(pillar, "patroni:watchdog") != "off":
            text = (
                f"{patroni['primary_stop_timeout']} is more than ttl - loop_wait - retry_timeout - {_WATCHDOG_MARGIN} "
                f"({left}), so the watchdog would reset a host whose PostgreSQL is still stopping"
            )
            yield ["plan", "timing", "patroni", "primary_stop_timeout"], f"{text}; raise ttl or lower it"
    advert = _get(pillar, "plan:timing:vrrp:advert", 1)
    if _get(pillar, "keepalived:vrrp_version") == 2 and advert != int(advert):
        text = f"{advert} is not whole, and VRRPv2 (keepalived:vrrp_version) supports whole seconds only"
        yield ["plan", "timing", "vrrp", "advert"], f"{text}; use 1, or version 3"
    etcd = _get(pillar, "plan:timing:etcd", {})
    if {"heartbeat_ms", "election_ms"} <= etcd.keys() and etcd["election_ms"] < 5 * etcd["heartbeat_ms"]:
        text = f"{etcd['election_ms']} is less than five heartbeats, etcd refuses to start"
        yield ["plan", "timing", "etcd", "election_ms"], f"{text}; use at least {5 * etcd['heartbeat_ms']}"
    retry_ms = 1000 * patroni.get("retry_timeout", 300)
    if 2 * etcd.get("election_ms", 0) > retry_ms:
        text = (
            f"{etcd['election_ms']}: an election may take twice as long, more than Patroni's retries "
            "(plan:timing:patroni:retry_timeout), so losing one etcd host would demote the primary"
        )
        yield ["plan", "timing", "etcd", "election_ms"], f"{text}; use at most {retry_ms // 2}"
    haproxy = _get(pillar, "plan:timing:haproxy", {})
    for key in ("fastinter_ms", "downinter_ms"):
        if haproxy.get(key, 0) > haproxy.get("inter_ms", 60000):
            text = f"{haproxy[key]} is more than inter_ms, so health checks would slow down during a failure"
            yield ["plan", "timing", "haproxy", key], f"{text}; use at most {haproxy['inter_ms']}"


def _edge_faults(pillar):
    """Yield contradictory limits of the edge: it would run out of memory, or one client could use all connections."""
    needed = ("haproxy:edge:maxconn", "haproxy:edge:memory", "rpc:edge:body_limit")
    if any(_get(pillar, path) is None for path in needed):
        return  # only the pillar of a balancer has all of them
    maxconn, memory, body_limit = (_get(pillar, path) for path in needed)
    shares = fanatico_capacity.edge(maxconn, body_limit)
    if memory < shares["memory"]:
        text = f"{memory} MiB is less than the {maxconn} connections, tables and large requests of the edge may use"
        yield (
            ["haproxy", "edge", "memory"],
            f"{text} ({shares['memory']}); use at least that, or lower haproxy:edge:maxconn",
        )
    files = 2 * shares["process"]
    if files > _EDGE_FILES:
        text = f"{maxconn} connections and {shares['large']} large requests need {files} files, over the unit's {_EDGE_FILES}"
        yield (
            ["haproxy", "edge", "maxconn"],
            f"{text}; use at most {_EDGE_FILES // 2 - fanatico_capacity.OWN - shares['large']}",
        )
    port = shares["port"]
    for name, what in (("connections", "connections"), ("max_websockets_per_client", "WebSockets")):
        wanted = _get(pillar, f"rpc:edge:{name}", 0)
        if wanted > port:
            text = f"{wanted} {what} per client are more than the limit of a port ({port}, from haproxy:edge:maxconn)"
            yield ["rpc", "edge", name], f"{text}; use at most {port}, or raise haproxy:edge:maxconn"


def _certificate_faults(pillar):
    days, renew = _get(pillar, "pki:days"), _get(pillar, "pki:renew_days")
    if days is not None and renew is not None and renew >= days:
        text = f"{renew} is not less than pki:days, so every run would replace every certificate"
        yield ["pki", "renew_days"], f"{text}; use at most {days - 1}"


def _version_faults(pillar):
    why = broken_pair(_get(pillar, "etcd:version"), _get(pillar, "patroni:version"))
    if why:
        yield ["etcd", "version"], f"{why}; choose another of the two"


def broken_pair(etcd, patroni):
    """
    Return why these versions of etcd and Patroni are incompatible; None if no reason is known.

    etcd, patroni
        Versions, of the Debian package or the program; empty if unknown.
    """
    ours, theirs = fanatico_version.numbers(patroni), fanatico_version.numbers(etcd)
    if ours and ours < (4, 1, 1) and theirs in _MEMBERS_FOR_USERS_ONLY:
        return (
            f"etcd {etcd} lists its members to authenticated users only, and Patroni {patroni} asks before it logs in, so it "
            "would find no etcd (patroni#3573; fixed in Patroni 4.1.1 and the next release of etcd)"
        )
    return None


# etcd-io/etcd#21549, #21550, #21551
_MEMBERS_FOR_USERS_ONLY = ((3, 4, 42), (3, 5, 28), (3, 6, 9))


def _rpc_faults(pillar):
    if not _nodes(pillar, "rpc"):
        return
    if _get(pillar, "rpc:chain") is not None and _get(pillar, "rpc:chain:id") is None:
        yield ["rpc", "chain", "id"], "missing; set the chain id (eth_chainId) in pillar/site/init.sls"
    artifact = _get(pillar, "rpc:artifact")
    if artifact is None:
        return
    kind = artifact.get("kind")
    if kind is None:
        text = "missing; name the artifact that the rpc nodes install in pillar/site/init.sls"
        yield ["rpc", "artifact", "kind"], f"{text} (archive, binary or package, see pillar/rpc.sls)"
    elif kind == "package":
        if not _get(artifact, "package:name"):
            yield ["rpc", "artifact", "package", "name"], "missing; set the name of the Debian package"
    else:
        yield from _download_faults(kind, artifact)


def _download_faults(kind, artifact):
    path = ["rpc", "artifact"]
    if "source" not in artifact:
        yield [*path, "source"], f"missing; set the salt:// or https:// URL of the {kind}"
    if "sha256" not in artifact:
        text = "missing, and nothing is installed without it; run `sha256sum` on the file that you trust"
        yield [*path, "sha256"], text
    if kind == "archive" and "bin" not in artifact:
        yield (
            [*path, "bin"],
            "missing; set the path of the program inside the archive, without the directories that `strip` removes",
        )
    if kind == "binary" and artifact.get("strip"):
        yield [*path, "strip"], "only an archive has directories to strip; remove the key"


_CHECKS = (
    _network_faults,
    _address_faults,
    _virtual_ip_faults,
    _role_faults,
    _evicted_faults,
    _port_faults,
    _timing_faults,
    *fanatico_postgres_limits.CHECKS,
    *fanatico_backup_limits.CHECKS,
    _edge_faults,
    _certificate_faults,
    _version_faults,
    _rpc_faults,
)
