"""
What the public may ask of the chain nodes, and the rules by which HAProxy judges it. Pure.

``policy`` returns the rules of ``edge.cfg`` as lines, part by part; the sections they stand in are those of
``salt/edge/files/rpc.cfg.jinja``. Lines that begin with ``#`` are for whoever reads ``edge.cfg``.
"""

import json
import re

import fanatico_capacity
import fanatico_plan

# Classes of calls. The place of each is that of its counters in HAProxy's tables.
CLASSES = ("read", "heavy", "write")

_CLIENT = "src,ipmask(32,64)"  # IPv6 clients have a /64 each
_UNLIMITED = "{ src -f /etc/haproxy/rpc-unlimited.lst }"
_CLOUDFLARE = "{ src -f /etc/haproxy/cloudflare.lst }"
# What a client says of itself and its passwords.
_PRIVATE = (
    *("authorization", "proxy-authorization", "cookie", "forwarded", "via", "x-real-ip", "true-client-ip"),
    *("cf-connecting-ip", "x-forwarded.*", "x-rpc-.*"),
)
# HTTP's status, JSON-RPC's code and the message, where HAProxy itself ends a request.
_ERRORS = (
    (400, -32700, "the request cannot be read, or its end did not come"),
    (408, -32000, "the request did not come in time"),
    (413, -32600, "the request is too large"),
    (500, -32603, "internal error"),
    (502, -32603, "bad answer from the node"),
    (503, -32000, "no node is available"),
    (504, -32000, "the node did not answer in time"),
)
_BUSY, _WRONG, _DOWN = -32005, -32600, -32000  # codes of JSON-RPC
_SOON, _LATER = {"Retry-After": 1}, {"Retry-After": 10}


def method_classes(edge):
    """
    Return ``{how a method's name begins: its class}``; the longest beginning counts, and what begins otherwise is forbidden.

    edge
        Pillar ``rpc:edge``: ``allowed``, ``forbidden``, ``heavy`` and ``write``, lists of methods or of how they begin.

    Nothing is allowed that ``allowed`` does not name, and nothing that ``forbidden`` names, whatever the other lists say.
    """
    forbidden, allowed = tuple(edge["forbidden"]), tuple(edge["allowed"])
    found = dict.fromkeys(forbidden, "forbidden")
    for name, names in (("write", edge["write"]), ("heavy", edge["heavy"]), ("read", allowed)):
        for method in names:
            if method.startswith(allowed) and not method.startswith(forbidden):
                found.setdefault(method, name)
    return found


def policy(pillar, node):
    """
    Return the rules of ``edge.cfg``, ``{part: [lines]}``. A part that the settings leave out has no lines.

    pillar
        A balancer's, with ``plan``, ``rpc``, ``haproxy`` and ``cloudflare``.
    node
        The balancer's id.

    Raises ``ValueError`` where the pillar lacks what the rules cannot do without.
    """
    plan, rpc, haproxy, cloudflare = (pillar[name] for name in ("plan", "rpc", "haproxy", "cloudflare"))
    edge, ports = rpc["edge"], plan["ports"]
    nodes = fanatico_plan.addresses(plan, "rpc")
    agent = fanatico_plan.port(plan, "rpc_agent")
    own_networks = [*fanatico_plan.subnets(plan), *edge["unlimited"]]
    capacity = fanatico_capacity.edge(haproxy["edge"]["maxconn"], edge["body_limit"])
    return {
        "guard": guard(edge),
        "keep_alive": keep_alive(cloudflare["require_cloudflare"]),
        "errors": errors(),
        "balancers": balancers(plan, node),
        "public_http": public(plan, haproxy["public"], "rpc_https", "h2,http/1.1"),
        "public_ws": public(plan, haproxy["public"], "rpc_wss", "http/1.1"),
        "clients": clients(
            edge["connections"], capacity["port"], own_networks if cloudflare["require_cloudflare"] else None
        ),
        "browsers": browsers(edge["origins"]),
        "refused_often": refused_often(edge["refused"]),
        "plain": plain(edge),
        "health": health(len(nodes)),
        "preflight": preflight(edge["origins"]),
        "shape": shape(edge, ports["rpc_ws"]),
        "large": large_requests(edge["max_large_requests"], capacity["large"]),
        "whole": whole(edge["limits"]),
        "judged": judged(edge["limits"]),
        "anonymous": anonymous(),
        "node_timeouts": node_timeouts(edge["timeouts"]),
        "chain": chain(rpc["chain"].get("id"), ports["rpc_http"]),
        "http_servers": servers(nodes, ports["rpc_http"], agent),
        "websocket": websocket(edge),
        "ws_servers": servers(nodes, ports["rpc_ws"], agent),
    }


def quoted(text):
    """Return a text as one word of HAProxy's configuration in which nothing has a meaning."""
    return "'" + str(text).replace("'", "'\\''") + "'"


def word(text):
    """Return a text as one word of HAProxy's configuration, quoted only where it has to be."""
    return text if re.fullmatch(r"[\w.:/*~@%+,=-]+", text, re.ASCII) else quoted(text)


def refuse(status, code, message, condition, headers=None, number="null"):
    """
    Return the rule that answers a JSON-RPC error.

    status, code, message
        HTTP's status, JSON-RPC's code, and what a person is to read.
    condition
        When, in HAProxy's words.
    headers
        ``{name: value}`` of the answer.
    number
        The call's ``id``: JSON, or a sample of HAProxy's that is JSON (``%[...]``).
    """
    more = "".join(f" hdr {name} {value}" for name, value in (headers or {}).items())
    # The body is a format of HAProxy's: a percent sign of the message's own is doubled.
    body = quoted(_error(code, message.replace("%", "%%"), number))
    return f"{_answer(status, more)} lf-string {body} if {condition}"


def _answer(status, headers=""):
    return f"http-request return status {status} content-type application/json hdr Cache-Control no-store{headers}"


def _error(code, message, number="null"):
    said = json.dumps(message)
    return f'{{"jsonrpc":"2.0","id":{number},"error":{{"code":{code},"message":{said}}}}}'


def guard(edge):
    """Return how rpc_guard.lua is loaded. It gives up a request later than HAProxy does, which knows more of what went wrong."""
    limits = (edge["batch_limit"], edge["body_limit"], max(edge["timeouts"].values()) + 5)
    return [f"lua-load-per-thread /etc/haproxy/rpc_guard.lua {' '.join(map(str, limits))}"]


def keep_alive(cloudflare_only):
    """Return how long a connection without a request is kept."""
    return [
        "# CloudFlare keeps a connection for 900 s, and takes it ill when the origin ends it first.",
        f"timeout http-keep-alive {905 if cloudflare_only else 60}s",
    ]


def errors():
    """Return what HAProxy's own errors look like: JSON-RPC's."""
    return [
        f"http-error status {status} content-type application/json string {quoted(_error(code, message))}"
        for status, code, message in _ERRORS
    ]


def balancers(plan, node):
    """Return all balancers as peers; one tells itself by the line without an address."""
    port = fanatico_plan.port(plan, "haproxy_peers")
    return [
        f"server {name}" if name == node else f"server {name} {address}:{port} verifyhost {name}"
        for name, address in fanatico_plan.addresses(plan, "haproxy").items()
    ]


def public(plan, tls, port, protocols):
    """
    Return where the public is served over TLS: nowhere, unless the plan names that port.

    tls
        Pillar ``haproxy:public``: ``certificate`` and ``client_ca``.
    port, protocols
        The port's name in the plan, and what ALPN offers.
    """
    if port not in plan["ports"]:
        return []
    if not tls["certificate"]:
        raise ValueError(f"haproxy:public:certificate is empty in the pillar: plan:ports:{port} needs one")
    verify = f" ca-file {tls['client_ca']} verify required" if tls["client_ca"] else ""
    address = f"{plan['virtual_ip']['address']}:{plan['ports'][port]}"
    return [f"bind {address} ssl crt {tls['certificate']} alpn {protocols}{verify}"]


def clients(connections, port_connections, beside_cloudflare=None):
    """
    Return who may connect, how often, and who counts as the client.

    connections
        Of one address at once.
    port_connections
        Of all clients of this port.
    beside_cloudflare
        Networks that may ask where otherwise only CloudFlare may; None where anybody may.
    """
    only = []
    if beside_cloudflare is not None:
        own = f"{{ src {' '.join(beside_cloudflare)} }}"
        only = [f"tcp-request connection reject unless {_CLOUDFLARE} || {own}"]
    crowded, few = port_connections * 3 // 4, max(connections // 10, 1)
    told, asks = "req.hdr(CF-Connecting-IP)", "{ req.hdr(CF-Connecting-IP) -m found }"
    return [
        *only,
        "# So that nobody takes all connections there are by keeping them open. Behind CloudFlare there is always somebody else.",
        f"tcp-request connection track-sc1 {_CLIENT} table rpc_connections unless {_CLOUDFLARE} || {_UNLIMITED}",
        f"tcp-request connection reject if {{ sc1_conn_cur gt {connections} }}",
        "# Where nearly all places are taken, nobody has more than a tenth of what he may have otherwise.",
        f"tcp-request connection reject if {{ fe_conn gt {crowded} }} {{ sc1_conn_cur gt {few} }}",
        # What CloudFlare says of its client counts where it is CloudFlare that says it.
        f"http-request del-header CF-Connecting-IP if {asks} !{_CLOUDFLARE}",
        f"http-request set-src {told} if {asks}",
    ]


def browsers(origins):
    """Return what a browser is told of whose pages may ask."""
    lines = [
        "# Browsers: whose pages may ask. What the node itself says of that does not count.",
        "http-after-response del-header Access-Control-Allow-Origin",
    ]
    if not origins:
        return lines
    known = "found" if "*" in origins else f"str {' '.join(map(word, origins))}"
    allowed = "{ var(txn.origin) -m found }"
    return [
        *lines,
        f"http-request set-var(txn.origin) req.hdr(Origin) if {{ req.hdr(Origin) -m {known} }}",
        f"http-after-response set-header Access-Control-Allow-Origin %[var(txn.origin)] if {allowed}",
        f"http-after-response set-header Vary Origin if {allowed}",
    ]


def preflight(origins):
    """Return the answer to a browser that asks beforehand."""
    if not origins:
        return []
    headers = {
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": "Content-Type",
        "Access-Control-Max-Age": 86400,
    }
    told = " ".join(f"hdr {name} {value}" for name, value in headers.items())
    return [f"http-request return status 204 {told} if METH_OPTIONS {{ var(txn.origin) -m found }}"]


def refused_often(limit):
    """Return what becomes of a client most of whose requests are refused; so many in ten seconds are read."""
    return [
        "# To refuse costs more than to pass on where Lua has to read it. Who is refused again and again is not read any more.",
        f"http-request track-sc3 {_CLIENT} table rpc_refused unless {_UNLIMITED}",
        refuse(
            429,
            _BUSY,
            f"too many refused requests: at most {limit} in 10 s",
            f"{{ sc_gpc_rate(0,3) gt {limit} }}",
            _LATER,
        ),
        "# (Not 429: who asks for more than his share has that share all the same.)",
        "http-after-response sc-inc-gpc(0,3) if { status 400 403:406 408 413 415 426 }",
    ]


def plain(edge):
    """Return how HAProxy itself judges what nearly all ask for. What passes is allowed here, all else goes on."""
    clear = (
        "is_whole is_text is_path is_json !is_packed !is_upgrade { req.body -m beg '{' } "
        """!{ req.body -m reg '(?is)"method".*"method"' } !{ req.body -m sub '\\u' } !{ req.body -m reg '[\\x80-\\xff]' }"""
    )
    known = "var(txn.method),map_beg(/etc/haproxy/rpc-classes.map,forbidden)"
    return [
        "# -- What nearly all ask for: one call that is as a whole in the buffer, and says in one way only which method it "
        "means.",
        "# Judged by the rules from here to `allow`; whatever else comes, by those below.",
        "acl is_json req.hdr(Content-Type) -m beg -i application/json",
        "acl is_packed req.hdr(Content-Encoding) -m found",
        "acl is_upgrade req.hdr(Upgrade) -m found",
        "http-request wait-for-body time 3s if METH_POST",
        "# Without a length (chunked) nobody knows whether there is more, and more could name another method.",
        "http-request set-var(txn.size) req.body_size if METH_POST { req.hdr(Content-Length) -m found }",
        "acl is_whole req.body_len,sub(txn.size) eq 0",
        "# What is read as text ends at a NUL; a node may read on.",
        "http-request set-var(txn.text) req.body,length if is_whole",
        "acl is_text req.body_len,sub(txn.text) eq 0",
        f"acl is_path path {' '.join(edge['paths'])}",
        f"http-request set-var(txn.method) req.body,json_query('$.method') if {clear}",
        "acl is_plain var(txn.method) -m reg ^[A-Za-z0-9_.]+$",
        f"http-request set-var(txn.class) {known} if is_plain",
        "# Each client has a share of its own, and each class of calls.",
        f"http-request track-sc0 {_CLIENT} table rpc_clients_here if is_plain !{_UNLIMITED}",
        *over(edge["limits"]),
        *(line for place, name in enumerate(CLASSES) for line in _counted(place, name, edge["limits"][name])),
        "# Now and then the other balancer is told, of so many calls as there were since.",
        *(line for place, name in enumerate(CLASSES) for line in _told(place, name, edge["limits"][name])),
    ]


def over(limits):
    """Return whether a client has asked for more than its share: the other balancer's word counts as much as our own."""
    return [
        f"acl over_{name} {rate} gt {limits[name]}"
        for place, name in enumerate(CLASSES)
        for rate in (f"sc_gpc_rate({place},0)", f"{_CLIENT},table_gpc_rate({place},rpc_clients)")
    ]


def step(limit):
    """Return of how many plain calls the other balancer is told at once."""
    return min(limit // 10, 100) or 1


def _counted(place, name, limit):
    """Return the rules that count a plain call of one class here, and let it pass unless the other balancer is to be told."""
    return [
        f"acl is_{name} var(txn.class) -m str {name}",
        f"acl is_due_{name} sc_get_gpc({place},0),mod({step(limit)}) eq 0",
        f"http-request sc-inc-gpc({place},0) if is_{name}",
        f"http-request allow if is_{name} !over_{name} !is_due_{name}",
    ]


def _told(place, name, limit):
    """Return the rules that tell the other balancer of plain calls of one class, and let this one pass."""
    return [
        f"http-request track-sc2 {_CLIENT} table rpc_clients if is_{name} is_due_{name} {{ sc_tracked(0) }}",
        f"http-request sc-add-gpc({place},2) {step(limit)} if is_{name} {{ sc_tracked(2) }}",
        f"http-request allow if is_{name} !over_{name}",
    ]


def health(nodes):
    """Return the answers to ``/health`` of so many nodes."""
    head = "# -- All else. /health is answered here, never by a node: some nodes answer 200 to any GET, synced or not."
    kinds = (
        (200, "ok", f" {{ nbsrv(rpc_http) ge {nodes} }}"),
        (200, "degraded", " { nbsrv(rpc_http) gt 0 }"),
        (503, "unavailable", ""),
    )
    body = '{{"status":"{}","ready":%[nbsrv(rpc_http)],"nodes":{}}}'
    return [
        head,
        *(
            f"{_answer(status)} lf-string {quoted(body.format(name, nodes))} if {{ path /health }}{condition}"
            for status, name, condition in kinds
        ),
    ]


def shape(edge, ws_port):
    """Return what is refused for how it is asked: only what can be judged gets to a node."""
    too_large = f"{{ var(txn.size) -m int gt {edge['body_limit']} }}"
    return [
        refuse(404, _WRONG, f"JSON-RPC is at {' and '.join(edge['paths'])}", "!is_path"),
        # In a WebSocket nobody sees which methods are called.
        refuse(426, _WRONG, f"WebSocket is on port {ws_port}", "is_upgrade"),
        refuse(405, _WRONG, "JSON-RPC is sent by POST", "!METH_POST", {"Allow": "POST"}),
        refuse(415, _WRONG, "JSON-RPC is sent as application/json", "!is_json"),
        refuse(415, _WRONG, "the body is not to be compressed", "is_packed"),
        refuse(413, _WRONG, "the request is too large", too_large),
    ]


def large_requests(of_one, of_all):
    """Return what becomes of a request that fits into no buffer: so many at once, of one client and of all."""
    own, together = (
        f"!is_whole {{ sc_conn_cur(0) gt {of_one} }}",
        f"!is_whole {{ sc_conn_cur(2) gt {of_all} }}",
    )
    return [
        "# What is not whole is read to its end, and judged, by rpc_guard.lua; it comes back by way of rpc_judged.",
        f"http-request track-sc0 {_CLIENT} table rpc_large if !is_whole !{_UNLIMITED}",
        "http-request track-sc2 int(1) table rpc_all_large if !is_whole",
        refuse(429, _BUSY, f"too many large requests: at most {of_one} at once", own, _SOON),
        refuse(503, _DOWN, "too many large requests of all clients", together, _SOON),
        "# Between two pieces; who says no more is answered with 400. (The rest may come at any moment, so it is asked only "
        "once.)",
        "http-request set-timeout client 10s if !is_whole",
        "http-request set-var(txn.unread) bool(true) if !is_whole",
        "http-request allow if { var(txn.unread) -m bool }",
    ]


def whole(limits):
    """Return how rpc_guard.lua judges what is in the buffer and was not allowed as a plain call."""
    return [
        "# What is whole: a batch, a call that is not plain, and a plain one that is refused.",
        "http-request set-var(txn.judged) bool(false)",
        "http-request lua.rpc_guard",
        refuse(503, _DOWN, "the request could not be judged", "!{ var(txn.judged) -m bool }", _SOON),
        f"http-request track-sc2 {_CLIENT} table rpc_clients if !is_plain !{_UNLIMITED}",
        *(
            f"http-request sc-add-gpc({place},2) var(txn.{name}) if !is_plain"
            for place, name in enumerate(CLASSES)
        ),
        *over_limit(limits, "var(txn.{})", "%[var(txn.id)]"),
    ]


def judged(limits):
    """Return what becomes of large requests that rpc_guard.lua has read and judged."""
    return [
        "http-request deny unless { req.hdr(X-Rpc-Key) -m str -f /etc/haproxy/rpc-judged.key }",
        "http-request set-src req.hdr(X-Rpc-Client)",
        "http-request set-var(txn.class) req.hdr(X-Rpc-Class)",
        f"http-request track-sc2 {_CLIENT} table rpc_clients unless {_UNLIMITED}",
        *over(limits),
        *(
            f"http-request sc-add-gpc({place},2) req.hdr_val(X-Rpc-{name})"
            for place, name in enumerate(CLASSES)
        ),
        *over_limit(limits, "req.hdr_val(X-Rpc-{})", "%[req.fhdr(X-Rpc-Id)]"),
    ]


def over_limit(limits, calls, number):
    """
    Return what is refused to a client that has asked for more than its share.

    calls
        HAProxy's sample of how many calls of a class, ``{}``, the request has.
    number
        As for ``refuse``.
    """
    lines = []
    for name in CLASSES:
        message = f"too many {name} calls: at most {limits[name]} in 10 s"
        condition = f"over_{name} {{ {calls.format(name)} -m int gt 0 }}"
        lines.append(refuse(429, _BUSY, message, condition, _LATER, number))
    return lines


def anonymous():
    """Return what takes from a request what no node has to see or believe: what a client says of itself, passwords, a query."""
    return [
        "http-request set-uri %[path] if { query -m found }",
        "http-request set-header Host rpc",
        f"http-request del-header ^({'|'.join(_PRIVATE)})$ -m reg",
    ]


def node_timeouts(timeouts):
    """Return how long a node may take, of each class but `read`, whose time is everybody's."""
    return [
        f"http-request set-timeout server {timeouts[name]}s if {{ var(txn.class) -m str {name} }}"
        for name in CLASSES
        if name != "read"
    ]


def chain(number, port):
    """
    Return the check of which chain a node is on: a question on a connection of its own.

    Whether it is behind, or syncing, its agent says, which knows the other nodes.
    """
    if not number:
        raise ValueError(
            "rpc:chain:id is empty in the pillar: without it a node of another chain would pass as healthy"
        )
    asked = '{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}'
    return [
        f"http-check connect port {port}",
        "http-check send meth POST uri / ver HTTP/1.1 hdr Host rpc hdr Content-Type application/json "
        f"body {quoted(asked)}",
        f'http-check expect rstring "\\"result\\":\\s*\\"{int(number):#x}\\""',
    ]


def servers(nodes, port, agent_port):
    """Return the nodes that serve, ``{id: address}``, at a port, and where the agent of each is asked."""
    return [
        "# The full weight, of which an agent can only take away: with less it could give its own node more.",
        f"default-server fall 2 weight 256 agent-check agent-port {agent_port} agent-inter 1s",
        *(f"server {name} {address}:{port}" for name, address in nodes.items()),
    ]


def websocket(edge):
    """Return which handshakes are led to a node, and how many WebSockets one client may have."""
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    sockets = edge["max_websockets_per_client"]
    return [
        "# All of it: with one header missing HAProxy hands on an ordinary request, which some nodes answer on this port too. "
        "(Where",
        "# the key alone is missing it answers 400 itself.)",
        "acl is_upgrade req.hdr(Upgrade) -i websocket",
        "acl is_asked req.hdr(Connection) -m sub -i upgrade",
        "acl has_body req.hdr(Content-Length),add(0) gt 0",
        "acl has_body req.hdr(Transfer-Encoding) -m found",
        "http-request set-var(txn.handshake) bool(true) if METH_GET is_upgrade is_asked !has_body",
        "acl is_handshake var(txn.handshake) -m bool",
        f"acl is_path path {' '.join(edge['paths'])}",
        refuse(404, _WRONG, f"WebSocket is at {' and '.join(edge['paths'])}", "!is_path"),
        refuse(426, _WRONG, "only WebSocket is spoken here", "!is_handshake", upgrade),
        f"http-request track-sc0 {_CLIENT} table rpc_sockets unless {_UNLIMITED}",
        refuse(
            429,
            _BUSY,
            f"too many WebSockets: at most {sockets}",
            f"{{ sc_conn_cur(0) gt {sockets} }}",
            _LATER,
        ),
    ]
