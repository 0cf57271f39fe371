"""
Who may talk to whom: the ports table of the plan as nftables rules for one node.

Everything here is pure: a plan and the pillar's ``firewall`` go in, a list of flows or a ruleset comes out.
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
    """Return what ``flows`` and ``ruleset`` need of a node's pillar beside the plan: ``firewall``, and ``rpc:follow``."""
    found, rpc = pillar.get("firewall"), pillar.get("rpc")
    follow = isinstance(rpc, Mapping) and bool(rpc.get("follow"))
    return {**(found if isinstance(found, Mapping) else {}), "follow": follow}


def flows(plan, settings):
    """
    Return every connection that is allowed between hosts, as ``{"name", "protocol", "port", "to", "from"}``.

    plan
        The pillar's ``plan``, after ``fanatico_plan.complete``.
    settings
        Of ``settings(pillar)``: the pillar's ``firewall`` (``admin``, ``clients``, ``monitoring``: networks; ``ssh_port``;
        ``allow``) and ``follow``, the pillar's ``rpc:follow``.

    ``to`` lists addresses, ``from`` addresses and networks; ``port`` is None where the protocol has none.
    """
    found = [
        _flow(port.name, number, _listening(plan, one), _senders(plan, settings, port.senders))
        for one in COMPONENTS
        for port in one.ports
        if (number := port.number or plan["ports"].get(port.name))  # not every plan has all of them
    ]
    everybody = _addresses(plan)
    found.append(_flow("ssh", settings["ssh_port"], everybody, admins(plan, settings)))
    balancers = _addresses(plan, "keepalived")
    found.append(_flow("vrrp", None, balancers, balancers, VRRP))
    for extra in settings["allow"]:
        listening = [one for one in COMPONENTS if one.name in extra["roles"]]
        to = sorted({address for one in listening for address in _listening(plan, one)})
        found.append(_flow(extra["name"], extra["port"], to, extra["from"], extra.get("protocol", "tcp")))
    return [flow for flow in found if flow["to"] and flow["from"]]


def admins(plan, settings):
    """Return who may come in by ssh: the networks the pillar names, and the master in any case."""
    return [*settings["admin"], *_addresses(plan, "master")]


def lost_sessions(plan, settings, node, sessions):
    """
    Return the sessions of ``sessions`` that could not be made again under the rules of ``node``.

    plan, settings
        As for ``flows``.
    node
        An id of the plan.
    sessions
        ``[(address here, port here, address of the other side)]``, as ``sessions_of`` reads them.

    The rules let nobody in by IPv6. Sessions of this machine with itself do not count: the rules let them be. Nor do those of
    hosts under ``plan:evicted``: they are meant to end.
    """
    mine, meant = _reached_at(plan, node), _evicted(plan)
    found = flows(plan, settings)

    def again(session):
        here, port, peer = session
        there = ipaddress.ip_address(peer)
        if there.is_loopback or peer == here or peer in meant:
            return True
        return there.version == 4 and any(
            flow["protocol"] == "tcp"
            and flow["port"] == port
            and mine & set(flow["to"])
            and any(there in ipaddress.ip_network(sender) for sender in flow["from"])
            for flow in found
        )

    return [session for session in sessions if not again(session)]


# Whoever serves ssh: before OpenSSH 9.8 a session is led by sshd, from then on by sshd-session.
_SSH = ("sshd", "sshd-session", "sshd-auth", "dropbear")


def sessions_of(text, ports=()):
    """
    Return the ssh sessions in what ``ss -Htnp state established`` printed, ``[(address here, port here, other address)]``.

    text
        The lines: two figures, two addresses with ports, and the processes that have the connection.
    ports
        Ports at which ssh is expected; a session at another one is known by the program that serves it.
    """
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4:
            continue
        here, peer = _place(words[2]), _place(words[3])
        served = any(f'("{name}",' in line for name in _SSH)
        # A connection that this machine itself has made by ssh is that of `ssh`, which is none of these programs.
        if served or here[1] in ports:
            found.append((*here, peer[0]))
    return found


def sshd_ports(text):
    """Return the ports at which an sshd listens, by what ``ss -Htlnp`` printed; none where systemd listens for it."""
    lines = [line.split() for line in text.splitlines() if any(f'("{name}",' in line for name in _SSH)]
    return {int(words[3].rpartition(":")[2]) for words in lines if len(words) > 4}


def open_ports(plan, settings, node):
    """Return the TCP ports at which the rules of ``node`` let anybody in. ``plan``, ``settings``: as for ``flows``."""
    mine = _reached_at(plan, node)
    return {
        flow["port"] for flow in flows(plan, settings) if flow["protocol"] == "tcp" and mine & set(flow["to"])
    }


def _place(text):
    """Return ``(address, port)`` of a socket as ``ss`` writes it; an IPv4 address within an IPv6 one as IPv4."""
    host, _, port = text.rpartition(":")
    address = ipaddress.ip_address(re.sub(r"[][]|%[^]]*", "", host))
    inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(inner or address), int(port)


def _flow(name, port, to, senders, protocol="tcp"):
    return {"name": name, "protocol": protocol, "port": port, "to": list(to), "from": list(senders)}


def _addresses(plan, name=None):
    return list(fanatico_plan.addresses(plan, name).values())


def _listening(plan, component):
    """Return the addresses at which a component is reached: some also at the virtual one."""
    own = _addresses(plan, component.name)
    return [*own, plan["virtual_ip"]["address"]] if component.at_virtual_ip and own else own


def _reached_at(plan, node):
    """Return the addresses at which one node is reached."""
    own = {plan["nodes"][node]["address"]}
    shared = any(one.at_virtual_ip for one in fanatico_plan.components(plan["nodes"][node]["roles"]))
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
    Return the text for ``nft -f`` that puts the table of ``node`` in the place of the one that is loaded.

    plan, settings
        As for ``flows``.
    node
        An id of the plan; ``ValueError`` for any other.
    """
    if node not in plan["nodes"]:
        raise ValueError(f"{node} is not in the plan: add it under plan:nodes in pillar/plan.sls")
    mine = _reached_at(plan, node)
    found = sorted(
        flows(plan, settings), key=lambda flow: flow["name"] != "ssh"
    )  # the way in for people comes first
    incoming = [rule for flow in found for rule in _incoming(flow, mine)]
    outgoing = [rule for flow in found for rule in _outgoing(flow, mine)]
    cluster = ", ".join(sorted({*_addresses(plan), plan["virtual_ip"]["address"]}))
    return _TEMPLATE.format(
        table=TABLE,
        incoming=_lines(incoming),
        outgoing=_lines(outgoing),
        cluster=f"{{ {cluster} }}",
        **_shut_out(plan),
    )


_TEMPLATE = """\
# Managed by Salt (_utils/fanatico_firewall.py); see `salt-call fanatico_firewall.flows`.
table inet {table}
delete table inet {table}
table inet {table} {{
    chain input {{
        type filter hook input priority filter; policy drop;
        iif lo accept{shut_out_in}
        ct state established,related accept
{incoming}
        icmp type {{ echo-request, destination-unreachable, time-exceeded, parameter-problem }} accept
        icmpv6 type {{ destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request }} accept
        icmpv6 type {{ nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert }} ip6 hoplimit 255 accept
    }}
    chain output {{
        type filter hook output priority filter; policy accept;
        oif lo accept{shut_out_out}
        ct state established,related accept
{outgoing}
        meta l4proto icmp accept
        ip daddr {cluster} reject with icmp admin-prohibited
    }}
}}
"""
# Not the first packet of a connection. Such ones are let through in both directions without asking the kernel's table of
# connections: loading the rules, or losing that table, must not cut a session that was allowed.
_GOING_ON = "tcp flags & (syn | ack) != syn"


def _shut_out(plan):
    """
    Return the rules about hosts that were evicted, before all others: not one packet, of no session that goes on either.

    What this host still sends there is refused to its own program, which so ends the session at once.
    """
    addresses = _evicted(plan)
    if not addresses:
        return {"shut_out_in": "", "shut_out_out": ""}
    them = f"{{ {', '.join(addresses)} }}"
    refused = f"ip daddr {them} meta l4proto tcp reject with tcp reset"
    return {
        "shut_out_in": f"\n        ip saddr {them} drop",
        "shut_out_out": f"\n        {refused}\n        ip daddr {them} drop",
    }


def _evicted(plan):
    return sorted({node["address"] for node in (plan.get("evicted") or {}).values()})


def blocked_addresses(rules):
    """Return the addresses that a ruleset shuts out, sorted. ``rules``: what ``ruleset`` returned."""
    found = re.search(r"^ *ip saddr \{ (.*) \} drop$", rules, re.MULTILINE)
    return sorted(found[1].split(", ")) if found else []


def _incoming(flow, mine):
    if mine & set(flow["to"]):
        yield f"{_of('saddr', flow['from'])}{_port(flow, 'dport')} accept"
    if _concerns(flow["from"], mine) and flow["protocol"] == "tcp":
        yield f"{_of('saddr', flow['to'])}{_port(flow, 'sport')} {_GOING_ON} accept"


def _outgoing(flow, mine):
    if _concerns(flow["from"], mine):
        yield f"{_of('daddr', flow['to'])}{_port(flow, 'dport')} accept"
    if mine & set(flow["to"]) and flow["protocol"] == "tcp":
        yield f"{_of('daddr', flow['from'])}{_port(flow, 'sport')} {_GOING_ON} accept"


def _concerns(senders, mine):
    networks = [ipaddress.ip_network(sender) for sender in senders]
    return any(ipaddress.ip_address(address) in network for address in mine for network in networks)


def _of(direction, others):
    """Match the other side; without a match where it is anybody."""
    if ANYBODY in others:
        return "meta nfproto ipv4 "
    return f"ip {direction} {{ {', '.join(_compact(others))} }} "


def _compact(entries):
    """Return addresses and networks without those that lie in another: nftables wants no overlap."""
    networks: Any = map(ipaddress.ip_network, entries)  # of version 4, all of them
    return [str(one).removesuffix("/32") for one in ipaddress.collapse_addresses(networks)]


def _port(flow, side):
    if flow["port"] is None:
        return f"meta l4proto {flow['protocol']}"
    return f"{flow['protocol']} {side} {flow['port']}"


def _lines(rules):
    return "\n".join(f"        {rule}" for rule in dict.fromkeys(rules))
