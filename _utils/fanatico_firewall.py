"""
The firewall: allowed connections between hosts, and the nftables rules of a node, derived from the plan. Pure.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

import fanatico_plan
from fanatico_components import COMPONENTS

TABLE = "fanatico"
VRRP = 112  # IP protocol number
ANYBODY = "0.0.0.0/0"


def settings(pillar):
    """Return the settings in a node's pillar for ``flows`` and ``ruleset``: those of ``firewall``, and ``rpc:follow``."""
    found, rpc = pillar.get("firewall"), pillar.get("rpc")
    follow = isinstance(rpc, Mapping) and bool(rpc.get("follow"))
    return {**(found if isinstance(found, Mapping) else {}), "follow": follow}


def flows(plan, settings):
    """
    Return the allowed connections between hosts, a list of ``{"name", "protocol", "port", "to", "from"}``.

    plan
        The pillar's ``plan``, after ``fanatico_plan.complete``.
    settings
        From ``settings(pillar)``: the pillar's ``firewall`` (networks ``admin``, ``clients``, ``monitoring``; ``ssh_port``;
        ``allow``) and ``follow``, the pillar's ``rpc:follow``.

    ``to`` lists addresses, ``from`` addresses and networks; ``port`` is None for a protocol without ports.
    """
    found = [
        _flow(port.name, number, _listening(plan, component), _senders(plan, settings, port.senders))
        for component in COMPONENTS
        for port in component.ports
        if (number := port.number or plan["ports"].get(port.name))  # some ports are optional in the plan
    ]
    hosts = _addresses(plan)
    found.append(_flow("ssh", settings["ssh_port"], hosts, admins(plan, settings)))
    balancers = _addresses(plan, "keepalived")
    found.append(_flow("vrrp", None, balancers, balancers, VRRP))
    for extra in settings["allow"]:
        listening = [component for component in COMPONENTS if component.name in extra["roles"]]
        to = sorted({address for component in listening for address in _listening(plan, component)})
        found.append(_flow(extra["name"], extra["port"], to, extra["from"], extra.get("protocol", "tcp")))
    return [flow for flow in found if flow["to"] and flow["from"]]


def admins(plan, settings):
    """Return the sources that may connect by ssh: the networks in the pillar, and always the master."""
    return [*settings["admin"], *_addresses(plan, "master")]


def lost_sessions(plan, settings, node, sessions):
    """
    Return the sessions of ``sessions`` that the rules of ``node`` would not allow to reconnect.

    plan, settings
        See ``flows``.
    node
        An id of the plan.
    sessions
        ``[(local address, local port, remote address)]``, as ``sessions_of`` returns them.

    The rules allow no IPv6. Ignored are local sessions, which the rules allow, and sessions of hosts under ``plan:evicted``,
    which are supposed to end.
    """
    mine, evicted = _reached_at(plan, node), _evicted(plan)
    found = flows(plan, settings)

    def allowed(session):
        local, port, peer = session
        remote = ipaddress.ip_address(peer)
        if remote.is_loopback or peer == local or peer in evicted:
            return True
        return remote.version == 4 and any(
            flow["protocol"] == "tcp"
            and flow["port"] == port
            and mine & set(flow["to"])
            and any(remote in ipaddress.ip_network(sender) for sender in flow["from"])
            for flow in found
        )

    return [session for session in sessions if not allowed(session)]


# Programs that serve ssh: before OpenSSH 9.8 a session belongs to sshd, since then to sshd-session.
_SSH = ("sshd", "sshd-session", "sshd-auth", "dropbear")


def sessions_of(text, ports=()):
    """
    Return the ssh sessions in the output of ``ss -Htnp state established``, ``[(local address, local port, remote address)]``.

    text
        The lines: two numbers, two addresses with ports, and the processes that own the connection.
    ports
        The expected ssh ports; a session at another port is recognized by its program.
    """
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4:
            continue
        local, peer = _endpoint(words[2]), _endpoint(words[3])
        served = any(f'("{name}",' in line for name in _SSH)
        # An outgoing ssh connection belongs to `ssh`, which is none of these programs.
        if served or local[1] in ports:
            found.append((*local, peer[0]))
    return found


def sshd_ports(text):
    """Return the ports of sshd in the output of ``ss -Htlnp``; empty if systemd listens for it."""
    lines = [line.split() for line in text.splitlines() if any(f'("{name}",' in line for name in _SSH)]
    return {int(words[3].rpartition(":")[2]) for words in lines if len(words) > 4}


def open_ports(plan, settings, node):
    """Return the TCP ports of ``node`` that any host may connect to. ``plan``, ``settings``: see ``flows``."""
    mine = _reached_at(plan, node)
    return {
        flow["port"] for flow in flows(plan, settings) if flow["protocol"] == "tcp" and mine & set(flow["to"])
    }


def _endpoint(text):
    """Return ``(address, port)`` of a socket in the format of ``ss``; an IPv4-mapped IPv6 address becomes IPv4."""
    host, _, port = text.rpartition(":")
    address = ipaddress.ip_address(re.sub(r"[][]|%[^]]*", "", host))
    inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(inner or address), int(port)


def _flow(name, port, to, senders, protocol="tcp"):
    return {"name": name, "protocol": protocol, "port": port, "to": list(to), "from": list(senders)}


def _addresses(plan, name=None):
    return list(fanatico_plan.addresses(plan, name).values())


def _listening(plan, component):
    """Return the addresses at which a component listens, with the virtual IP if it serves there."""
    own = _addresses(plan, component.name)
    return [*own, plan["virtual_ip"]["address"]] if component.at_virtual_ip and own else own


def _reached_at(plan, node):
    """Return the addresses of one node, with the virtual IP if it can hold it."""
    own = {plan["nodes"][node]["address"]}
    components = fanatico_plan.components(plan["nodes"][node]["roles"])
    shared = any(component.at_virtual_ip for component in components)
    return own | {plan["virtual_ip"]["address"]} if shared else own


def _networks(plan):
    return [network["cidr"] for network in plan["networks"].values()]


def _senders(plan, settings, words):
    found = []
    for word in words:
        if word == "anybody":
            found.append(ANYBODY)
        elif word == "clients":
            found += [*_networks(plan), *settings["clients"]]
        elif word == "monitoring":
            found += settings["monitoring"]
        elif word == "following":
            found += _addresses(plan, "rpc") if settings.get("follow") else ()
        else:
            found += _addresses(plan, word)
    return list(dict.fromkeys(found))


def ruleset(plan, settings, node):
    """
    Return the text for ``nft -f`` that replaces the loaded table with that of ``node``.

    plan, settings
        See ``flows``.
    node
        An id of the plan.

    Raises ``ValueError`` for a node that is not in the plan.
    """
    if node not in plan["nodes"]:
        raise ValueError(f"{node} is not in the plan: add it under plan:nodes in pillar/plan.sls")
    mine = _reached_at(plan, node)
    found = sorted(flows(plan, settings), key=lambda flow: flow["name"] != "ssh")  # ssh first
    incoming = [rule for flow in found for rule in _incoming(flow, mine)]
    outgoing = [rule for flow in found for rule in _outgoing(flow, mine)]
    cluster = ", ".join(sorted({*_addresses(plan), plan["virtual_ip"]["address"]}))
    return _TEMPLATE.format(
        table=TABLE,
        incoming=_lines(incoming),
        outgoing=_lines(outgoing),
        cluster=f"{{ {cluster} }}",
        **_evicted_rules(plan),
    )


_TEMPLATE = """\
# Managed by Salt (_utils/fanatico_firewall.py); see `salt-call fanatico_firewall.flows`.
table inet {table}
delete table inet {table}
table inet {table} {{
    chain input {{
        type filter hook input priority filter; policy drop;
        iif lo accept{evicted_in}
        ct state established,related accept
{incoming}
        icmp type {{ echo-request, destination-unreachable, time-exceeded, parameter-problem }} accept
        icmpv6 type {{ destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request }} accept
        icmpv6 type {{ nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert }} ip6 hoplimit 255 accept
    }}
    chain output {{
        type filter hook output priority filter; policy accept;
        oif lo accept{evicted_out}
        ct state established,related accept
{outgoing}
        meta l4proto icmp accept
        ip daddr {cluster} reject with icmp admin-prohibited
    }}
}}
"""
# Any packet of a connection but the first. They pass in both directions without connection tracking: loading the rules or losing
# the tracking table must not cut an allowed session.
_ESTABLISHED = "tcp flags & (syn | ack) != syn"


def _evicted_rules(plan):
    """
    Return the rules for evicted hosts, before all others: they block every packet, also of established sessions.

    Packets to an evicted host are rejected with a reset, so that the local program ends the session at once.
    """
    addresses = _evicted(plan)
    if not addresses:
        return {"evicted_in": "", "evicted_out": ""}
    blocked = f"{{ {', '.join(addresses)} }}"
    refused = f"ip daddr {blocked} meta l4proto tcp reject with tcp reset"
    return {
        "evicted_in": f"\n        ip saddr {blocked} drop",
        "evicted_out": f"\n        {refused}\n        ip daddr {blocked} drop",
    }


def _evicted(plan):
    return sorted({node["address"] for node in (plan.get("evicted") or {}).values()})


def blocked_addresses(rules):
    """Return the addresses that a ruleset blocks, sorted. ``rules``: what ``ruleset`` returned."""
    found = re.search(r"^ *ip saddr \{ (.*) \} drop$", rules, re.MULTILINE)
    return sorted(found[1].split(", ")) if found else []


def _incoming(flow, mine):
    if mine & set(flow["to"]):
        yield f"{_of('saddr', flow['from'])}{_port(flow, 'dport')} accept"
    if _concerns(flow["from"], mine) and flow["protocol"] == "tcp":
        yield f"{_of('saddr', flow['to'])}{_port(flow, 'sport')} {_ESTABLISHED} accept"


def _outgoing(flow, mine):
    if _concerns(flow["from"], mine):
        yield f"{_of('daddr', flow['to'])}{_port(flow, 'dport')} accept"
    if mine & set(flow["to"]) and flow["protocol"] == "tcp":
        yield f"{_of('daddr', flow['from'])}{_port(flow, 'sport')} {_ESTABLISHED} accept"


def _concerns(senders, mine):
    networks = [ipaddress.ip_network(sender) for sender in senders]
    return any(ipaddress.ip_address(address) in network for address in mine for network in networks)


def _of(direction, others):
    """Return the match for the remote side; IPv4 only, if any address matches."""
    if ANYBODY in others:
        return "meta nfproto ipv4 "
    return f"ip {direction} {{ {', '.join(_compact(others))} }} "


def _compact(entries):
    """Return addresses and networks without overlaps, which nftables rejects."""
    networks: Any = map(ipaddress.ip_network, entries)  # IPv4 only
    return [str(network).removesuffix("/32") for network in ipaddress.collapse_addresses(networks)]


def _port(flow, side):
    if flow["port"] is None:
        return f"meta l4proto {flow['protocol']}"
    return f"{flow['protocol']} {side} {flow['port']}"


def _lines(rules):
    return "\n".join(f"        {rule}" for rule in dict.fromkeys(rules))


# --- etcd's clients while it is rebuilt

ETCD_TABLE = "fanatico_etcd_clients"
_ADMITTED = "# admitted:"


def etcd_clients(port, sources, local, hosts):
    """
    Return the text for ``nft -f`` that lets only some hosts connect to etcd on a node.

    port
        etcd's client port.
    sources
        The addresses that may connect.
    local
        The id of the local user who may not connect either, or None: Patroni on the same host uses an address in ``sources``.
    hosts
        The ids of the admitted hosts, for ``admitted``.
    """
    allowed = f"{{ {', '.join(_compact(sources))} }}"
    output = _LOCAL.format(user=local, port=port) if local is not None else ""
    return _ETCD_CLIENTS.format(
        table=ETCD_TABLE,
        port=port,
        allowed=allowed,
        output=output,
        admitted=" ".join([_ADMITTED, *hosts]),
    )


def admitted(rules):
    """Return the ids of the admitted hosts. ``rules``: what ``etcd_clients`` returned."""
    found = re.search(rf"^{_ADMITTED}(.*)$", rules, re.MULTILINE)
    return found[1].split() if found else []


# In a table of its own, a packet passes only if this table and the firewall's accept it.
_ETCD_CLIENTS = """\
# Written by fanatico_etcd.restrict_clients, removed by fanatico_etcd.allow_clients.
{admitted}
table inet {table}
delete table inet {table}
table inet {table} {{
    chain input {{
        type filter hook input priority filter - 1; policy accept;
        tcp dport {port} ip saddr != {allowed} reject with tcp reset
    }}{output}
}}
"""
_LOCAL = """
    chain output {{
        type filter hook output priority filter - 1; policy accept;
        meta skuid {user} tcp dport {port} reject with tcp reset
    }}"""
