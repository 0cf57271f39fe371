"""
Who may talk to whom: the ports table of the plan as nftables rules for one node.

Everything here is pure: a plan and the pillar's ``firewall`` go in, a list of flows or a ruleset comes out.
"""

import ipaddress
from typing import Any

TABLE = "fanatico"
VRRP = 112  # IP protocol number
SALT_PORTS = (4505, 4506)
ANYBODY = "0.0.0.0/0"

# Port of the plan, the role that listens there, and the roles that may connect. "clients", "monitoring" and "anybody" are
# not roles: the first two are networks of the pillar, the plan's own networks being clients too.
_SERVICES = (
    ("rpc_http", "haproxy", ("anybody",)),
    ("rpc_ws", "haproxy", ("anybody",)),
    ("postgres_primary", "haproxy", ("clients",)),
    ("postgres_replica", "haproxy", ("clients",)),
    ("rpc_https", "haproxy", ("anybody",)),
    ("rpc_wss", "haproxy", ("anybody",)),
    ("haproxy_stats", "haproxy", ("haproxy", "master", "monitoring")),
    ("edge_stats", "haproxy", ("haproxy", "master", "monitoring")),
    ("haproxy_peers", "haproxy", ("haproxy",)),
    ("rpc_http", "rpc", ("haproxy", "rpc")),
    ("rpc_ws", "rpc", ("haproxy",)),
    ("rpc_agent", "rpc", ("haproxy",)),
    ("postgres", "patroni", ("haproxy", "patroni")),
    ("patroni_rest", "patroni", ("haproxy", "master", "patroni", "monitoring")),
    ("etcd_client", "etcd", ("etcd", "patroni")),
    ("etcd_peer", "etcd", ("etcd",)),
    ("etcd_metrics", "etcd", ("monitoring",)),
)


def flows(plan, settings):
    """
    Return every connection that is allowed between hosts, as ``{"name", "protocol", "port", "to", "from"}``.

    plan
        The pillar's ``plan``, after ``fanatico_plan.complete``.
    settings
        The pillar's ``firewall``: ``admin``, ``clients``, ``monitoring`` (networks), ``ssh_port`` and ``allow``.

    ``to`` lists addresses, ``from`` addresses and networks; ``port`` is None where the protocol has none.
    """
    found = [
        _flow(name, plan["ports"][name], _listening(plan, role), _senders(plan, settings, senders))
        for name, role, senders in _SERVICES
        if name in plan["ports"]  # not every plan has all of them
    ]
    everybody = _addresses(plan)
    for port in SALT_PORTS:
        found.append(_flow(f"salt_{port}", port, _addresses(plan, "master"), everybody))
    found.append(_flow("ssh", settings.get("ssh_port", 22), everybody, admins(plan, settings)))
    found.append(_flow("vrrp", None, _addresses(plan, "haproxy"), _addresses(plan, "haproxy"), VRRP))
    for extra in settings.get("allow", ()):
        to = sorted({address for role in extra["roles"] for address in _listening(plan, role)})
        found.append(_flow(extra["name"], extra["port"], to, extra["from"], extra.get("protocol", "tcp")))
    return [flow for flow in found if flow["to"] and flow["from"]]


def admins(plan, settings):
    """Return who may come in by ssh: the networks the pillar names, and the master in any case."""
    return [*(settings.get("admin") or _networks(plan)), *_addresses(plan, "master")]


def _flow(name, port, to, senders, protocol="tcp"):
    return {"name": name, "protocol": protocol, "port": port, "to": list(to), "from": list(senders)}


def _addresses(plan, role=None):
    return [node["address"] for node in plan["nodes"].values() if role is None or role in node["roles"]]


def _listening(plan, role):
    """Return the addresses at which a role is reached: the balancers also at the virtual one."""
    own = _addresses(plan, role)
    return [*own, plan["virtual_ip"]["address"]] if role == "haproxy" and own else own


def _networks(plan):
    return [network["cidr"] for network in plan["networks"].values()]


def _senders(plan, settings, words):
    found = []
    for word in words:
        if word == "anybody":
            found.append(ANYBODY)
        elif word == "clients":
            found += [*_networks(plan), *settings.get("clients", ())]
        elif word == "monitoring":
            found += settings.get("monitoring", ())
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
    mine = {plan["nodes"][node]["address"]}
    if "haproxy" in plan["nodes"][node]["roles"]:
        mine.add(plan["virtual_ip"]["address"])
    found = sorted(
        flows(plan, settings), key=lambda flow: flow["name"] != "ssh"
    )  # the way in for people comes first
    incoming = [rule for flow in found for rule in _incoming(flow, mine)]
    outgoing = [rule for flow in found for rule in _outgoing(flow, mine)]
    cluster = ", ".join(sorted({*_addresses(plan), plan["virtual_ip"]["address"]}))
    return _TEMPLATE.format(
        table=TABLE, incoming=_lines(incoming), outgoing=_lines(outgoing), cluster=f"{{ {cluster} }}"
    )


_TEMPLATE = """\
# Managed by Salt (_utils/fanatico_firewall.py); see `salt-call fanatico_firewall.flows`.
table inet {table}
delete table inet {table}
table inet {table} {{
    chain input {{
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state established,related accept
{incoming}
        icmp type {{ echo-request, destination-unreachable, time-exceeded, parameter-problem }} accept
        icmpv6 type {{ destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request }} accept
        icmpv6 type {{ nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert }} ip6 hoplimit 255 accept
    }}
    chain output {{
        type filter hook output priority filter; policy accept;
        oif lo accept
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
