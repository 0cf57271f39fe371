"""
The rules by which the edge's HAProxy filters and limits public JSON-RPC and WebSocket traffic. Pure.

``policy`` returns the rules of ``edge.cfg`` as lines, in parts; ``salt/edge/files/rpc.cfg.jinja`` has the sections around them.
Lines that begin with ``#`` are comments in ``edge.cfg``.
"""

import json
import re

import fanatico_capacity
import fanatico_plan

# Classes of calls. The index of a class is the index of its counters in HAProxy's tables.
CLASSES = ("read", "heavy", "write")

_CLIENT = "src,ipmask(32,64)"  # an IPv6 client is a /64
_UNLIMITED = "{ src -f /etc/haproxy/rpc-unlimited.lst }"
_CLOUDFLARE = "{ src -f /etc/haproxy/cloudflare.lst }"
# Headers with the identity and the credentials of a client.
_PRIVATE = (
    *("authorization", "proxy-authorization", "cookie", "forwarded", "via", "x-real-ip", "true-client-ip"),
    *("cf-connecting-ip", "x-forwarded.*", "x-rpc-.*"),
)
# HTTP status, JSON-RPC code and message of the errors that HAProxy itself sends.
_ERRORS = (
    (400, -32700, "the request is malformed or incomplete"),
    (408, -32000, "the request timed out"),
    (413, -32600, "the request is too large"),
    (500, -32603, "internal error"),
    (502, -32603, "bad answer from the node"),
    (503, -32000, "no node is available"),
    (504, -32000, "the node did not answer in time"),
)
_BUSY, _WRONG, _DOWN = -32005, -32600, -32000  # JSON-RPC codes
_SOON, _LATER = {"Retry-After": 1}, {"Retry-After": 10}


def method_classes(edge):
    """
    Return ``{prefix of method names: class}``; the longest prefix wins, a method without a prefix is forbidden.

    edge
        Pillar ``rpc:edge``: ``allowed``, ``forbidden``, ``heavy`` and ``write``, lists of methods or prefixes.

    A method must match ``allowed`` and must not match ``forbidden``, whatever the other lists contain.
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
    Return the rules of ``edge.cfg``, ``{part: [lines]}``. A part that the settings disable has no lines.

    pillar
        The pillar of a balancer, with ``plan``, ``rpc``, ``haproxy`` and ``cloudflare``.
    node
        The balancer's id.

    Raises ``ValueError`` if a required setting is missing in the pillar.
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
    """Return a text as one quoted word of HAProxy's configuration, without special characters in effect."""
    return "'" + str(text).replace("'", "'\\''") + "'"


def word(text):
    """Return a text as one word of HAProxy's configuration, quoted only if necessary."""
    return text if re.fullmatch(r"[\w.:/*~@%+,=-]+", text, re.ASCII) else quoted(text)


def refuse(status, code, message, condition, headers=None, number="null"):
    """
    Return the rule that responds with a JSON-RPC error.

    status, code, message
        HTTP status, JSON-RPC code, and the error message.
    condition
        HAProxy condition.
    headers
        Headers of the response, ``{name: value}``.
    number
        The ``id`` of the call: JSON, or a HAProxy sample that yields JSON (``%[...]``).
    """
    more = "".join(f" hdr {name} {value}" for name, value in (headers or {}).items())
    # The body is a log format of HAProxy: a literal percent sign is doubled.
    body = quoted(_error(code, message.replace("%", "%%"), number))
    return f"{_answer(status, more)} lf-string {body} if {condition}"


def _answer(status, headers=""):
    return f"http-request return status {status} content-type application/json hdr Cache-Control no-store{headers}"


def _error(code, message, number="null"):
    text = json.dumps(message)
    return f'{{"jsonrpc":"2.0","id":{number},"error":{{"code":{code},"message":{text}}}}}'


def guard(edge):
    """Return the line that loads rpc_guard.lua. Its timeout is longer than HAProxy's, whose errors are more precise."""
    limits = (edge["batch_limit"], edge["body_limit"], max(edge["timeouts"].values()) + 5)
    return [f"lua-load-per-thread /etc/haproxy/rpc_guard.lua {' '.join(map(str, limits))}"]


def keep_alive(cloudflare_only):
    """Return the timeout of an idle connection."""
    return [
        "# CloudFlare keeps a connection for 900 s, and fails requests if the origin closes it first.",
        f"timeout http-keep-alive {905 if cloudflare_only else 60}s",
    ]


def errors():
    """Return the bodies of HAProxy's own errors, as JSON-RPC errors."""
    return [
        f"http-error status {status} content-type application/json string {quoted(_error(code, message))}"
        for status, code, message in _ERRORS
    ]


def balancers(plan, node):
    """Return all balancers as peers; the line without an address is the balancer itself."""
    port = fanatico_plan.port(plan, "haproxy_peers")
    return [
        f"server {name}" if name == node else f"server {name} {address}:{port} verifyhost {name}"
        for name, address in fanatico_plan.addresses(plan, "haproxy").items()
    ]


def public(plan, tls, port, protocols):
    """
    Return the ``bind`` line of a public TLS port; no line if the plan does not set that port.

    tls
        Pillar ``haproxy:public``: ``certificate`` and ``client_ca``.
    port, protocols
        The port's name in the plan, and the ALPN protocols.
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
    Return the rules about who may connect, the connection limits, and which address is the client's.

    connections
        Concurrent connections of one address.
    port_connections
        Concurrent connections of all clients of this port.
    beside_cloudflare
        Networks that may connect besides CloudFlare; None if everyone may connect.
    """
    only = []
    if beside_cloudflare is not None:
        own = f"{{ src {' '.join(beside_cloudflare)} }}"
        only = [f"tcp-request connection reject unless {_CLOUDFLARE} || {own}"]
    crowded, few = port_connections * 3 // 4, max(connections // 10, 1)
    client, has_client = "req.hdr(CF-Connecting-IP)", "{ req.hdr(CF-Connecting-IP) -m found }"
    return [
        *only,
        "# No client may hold all connections open. CloudFlare's addresses are exempt: many clients share them.",
        f"tcp-request connection track-sc1 {_CLIENT} table rpc_connections unless {_CLOUDFLARE} || {_UNLIMITED}",
        f"tcp-request connection reject if {{ sc1_conn_cur gt {connections} }}",
        "# When the port is nearly full, the limit of a client drops to a tenth.",
        f"tcp-request connection reject if {{ fe_conn gt {crowded} }} {{ sc1_conn_cur gt {few} }}",
        # The header counts only if it comes from CloudFlare.
        f"http-request del-header CF-Connecting-IP if {has_client} !{_CLOUDFLARE}",
        f"http-request set-src {client} if {has_client}",
    ]


def browsers(origins):
    """Return the CORS rules: which origins may call."""
    lines = [
        "# CORS: which origins may call. The node's own header is dropped.",
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
    """Return the response to a CORS preflight request."""
    if not origins:
        return []
    headers = {
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": "Content-Type",
        "Access-Control-Max-Age": 86400,
    }
    given = " ".join(f"hdr {name} {value}" for name, value in headers.items())
    return [f"http-request return status 204 {given} if METH_OPTIONS {{ var(txn.origin) -m found }}"]


def refused_often(limit):
    """Return the rules that block a client after ``limit`` refused requests in ten seconds."""
    return [
        "# A refusal by Lua costs more than a forwarded call, so a client that is refused often is rejected early.",
        f"http-request track-sc3 {_CLIENT} table rpc_refused unless {_UNLIMITED}",
        refuse(
            429,
            _BUSY,
            f"too many refused requests: at most {limit} in 10 s",
            f"{{ sc_gpc_rate(0,3) gt {limit} }}",
            _LATER,
        ),
        "# 429 does not count: a client over its rate limit keeps its share.",
        "http-after-response sc-inc-gpc(0,3) if { status 400 403:406 408 413 415 426 }",
    ]


def plain(edge):
    """Return the rules for plain calls: HAProxy allows them here, later rules judge everything else."""
    clear = (
        "is_whole is_text is_path is_json !is_packed !is_upgrade { req.body -m beg '{' } "
        """!{ req.body -m reg '(?is)"method".*"method"' } !{ req.body -m sub '\\u' } !{ req.body -m reg '[\\x80-\\xff]' }"""
    )
    known = "var(txn.method),map_beg(/etc/haproxy/rpc-classes.map,forbidden)"
    return [
        "# -- Plain calls, nearly all traffic: one call, complete in the buffer, with an unambiguous method.",
        "# The rules from here to `allow` judge them; the rules below judge everything else.",
        "acl is_json req.hdr(Content-Type) -m beg -i application/json",
        "acl is_packed req.hdr(Content-Encoding) -m found",
        "acl is_upgrade req.hdr(Upgrade) -m found",
        "http-request wait-for-body time 3s if METH_POST",
        "# Without a length (chunked) the body may continue beyond the buffer, and the rest could name another method.",
        "http-request set-var(txn.size) req.body_size if METH_POST { req.hdr(Content-Length) -m found }",
        "acl is_whole req.body_len,sub(txn.size) eq 0",
        "# HAProxy reads text up to a NUL; a node may read on.",
        "http-request set-var(txn.text) req.body,length if is_whole",
        "acl is_text req.body_len,sub(txn.text) eq 0",
        f"acl is_path path {' '.join(edge['paths'])}",
        f"http-request set-var(txn.method) req.body,json_query('$.method') if {clear}",
        "acl is_plain var(txn.method) -m reg ^[A-Za-z0-9_.]+$",
        f"http-request set-var(txn.class) {known} if is_plain",
        "# The rate limits are per client and class.",
        f"http-request track-sc0 {_CLIENT} table rpc_clients_here if is_plain !{_UNLIMITED}",
        *over(edge["limits"]),
        *(line for place, name in enumerate(CLASSES) for line in _counted(place, name, edge["limits"][name])),
        "# In steps, the other balancer gets the number of calls since the last step.",
        *(line for place, name in enumerate(CLASSES) for line in _told(place, name, edge["limits"][name])),
    ]


def over(limits):
    """Return the ACLs for clients over their rate limit, by the counters of this balancer and of the other one."""
    return [
        f"acl over_{name} {rate} gt {limits[name]}"
        for place, name in enumerate(CLASSES)
        for rate in (f"sc_gpc_rate({place},0)", f"{_CLIENT},table_gpc_rate({place},rpc_clients)")
    ]


def step(limit):
    """Return after how many plain calls the other balancer gets an update."""
    return min(limit // 10, 100) or 1


def _counted(place, name, limit):
    """Return the rules that count a plain call of a class, and allow it unless an update of the other balancer is due."""
    return [
        f"acl is_{name} var(txn.class) -m str {name}",
        f"acl is_due_{name} sc_get_gpc({place},0),mod({step(limit)}) eq 0",
        f"http-request sc-inc-gpc({place},0) if is_{name}",
        f"http-request allow if is_{name} !over_{name} !is_due_{name}",
    ]


def _told(place, name, limit):
    """Return the rules that update the other balancer about plain calls of a class, and allow the call."""
    return [
        f"http-request track-sc2 {_CLIENT} table rpc_clients if is_{name} is_due_{name} {{ sc_tracked(0) }}",
        f"http-request sc-add-gpc({place},2) {step(limit)} if is_{name} {{ sc_tracked(2) }}",
        f"http-request allow if is_{name} !over_{name}",
    ]


def health(nodes):
    """Return the responses to ``/health``; ``nodes`` is the number of chain nodes."""
    head = (
        "# -- All else. HAProxy answers /health, not a node: some nodes answer 200 to any GET, synced or not."
    )
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
    """Return the refusals by path, method, headers and size: only requests that can be judged reach a node."""
    too_large = f"{{ var(txn.size) -m int gt {edge['body_limit']} }}"
    return [
        refuse(404, _WRONG, f"JSON-RPC is at {' and '.join(edge['paths'])}", "!is_path"),
        # The methods in a WebSocket are not visible here.
        refuse(426, _WRONG, f"WebSocket is on port {ws_port}", "is_upgrade"),
        refuse(405, _WRONG, "JSON-RPC is sent by POST", "!METH_POST", {"Allow": "POST"}),
        refuse(415, _WRONG, "JSON-RPC is sent as application/json", "!is_json"),
        refuse(415, _WRONG, "a compressed body is not supported", "is_packed"),
        refuse(413, _WRONG, "the request is too large", too_large),
    ]


def large_requests(of_one, of_all):
    """Return the rules for requests larger than a buffer: concurrency limits per client and in total, then Lua."""
    own, together = (
        f"!is_whole {{ sc_conn_cur(0) gt {of_one} }}",
        f"!is_whole {{ sc_conn_cur(2) gt {of_all} }}",
    )
    return [
        "# rpc_guard.lua reads incomplete requests to the end and judges them; they return through rpc_judged.",
        f"http-request track-sc0 {_CLIENT} table rpc_large if !is_whole !{_UNLIMITED}",
        "http-request track-sc2 int(1) table rpc_all_large if !is_whole",
        refuse(429, _BUSY, f"too many large requests: at most {of_one} at once", own, _SOON),
        refuse(503, _DOWN, "too many large requests in total", together, _SOON),
        "# The timeout between two pieces; a client that stalls gets 400. (is_whole is read only once: the rest may arrive "
        "at any moment.)",
        "http-request set-timeout client 10s if !is_whole",
        "http-request set-var(txn.unread) bool(true) if !is_whole",
        "http-request allow if { var(txn.unread) -m bool }",
    ]


def whole(limits):
    """Return the rules for complete requests that were not allowed as plain calls: rpc_guard.lua judges them."""
    return [
        "# Complete requests: batches, calls that are not plain, and plain calls over the limit.",
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
    """Return the rules for large requests that rpc_guard.lua has read and judged."""
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
    Return the refusals for a client over its rate limit.

    limits
        Calls in 10 seconds, ``{class: number}``.
    calls
        HAProxy sample with the number of calls of a class in the request; ``{}`` stands for the class.
    number
        See ``refuse``.
    """
    lines = []
    for name in CLASSES:
        message = f"too many {name} calls: at most {limits[name]} in 10 s"
        condition = f"over_{name} {{ {calls.format(name)} -m int gt 0 }}"
        lines.append(refuse(429, _BUSY, message, condition, _LATER, number))
    return lines


def anonymous():
    """Return the rules that strip the query, credentials and the client's claims about itself from a request."""
    return [
        "http-request set-uri %[path] if { query -m found }",
        "http-request set-header Host rpc",
        f"http-request del-header ^({'|'.join(_PRIVATE)})$ -m reg",
    ]


def node_timeouts(timeouts):
    """Return the node timeouts in seconds of each class but `read`, which has the default."""
    return [
        f"http-request set-timeout server {timeouts[name]}s if {{ var(txn.class) -m str {name} }}"
        for name in CLASSES
        if name != "read"
    ]


def chain(number, port):
    """
    Return the health check of a node's chain id, on a connection of its own.

    The node's agent reports lag and syncing, because it knows the other nodes.
    """
    if not number:
        raise ValueError(
            "rpc:chain:id is empty in the pillar; without it a node of another chain would pass as healthy. "
            "Next: set it in pillar/site/init.sls"
        )
    asked = '{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}'
    return [
        f"http-check connect port {port}",
        "http-check send meth POST uri / ver HTTP/1.1 hdr Host rpc hdr Content-Type application/json "
        f"body {quoted(asked)}",
        f'http-check expect rstring "\\"result\\":\\s*\\"{int(number):#x}\\""',
    ]


def servers(nodes, port, agent_port):
    """Return the server lines of ``nodes``, ``{id: address}``, at ``port``, with the port of their agents."""
    return [
        "# Maximum weight: an agent can only lower it. With less, an agent could raise the weight of its own node.",
        f"default-server fall 2 weight 256 agent-check agent-port {agent_port} agent-inter 1s",
        *(f"server {name} {address}:{port}" for name, address in nodes.items()),
    ]


def websocket(edge):
    """Return the rules for WebSocket handshakes: which are forwarded, and how many WebSockets a client may have."""
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    sockets = edge["max_websockets_per_client"]
    return [
        "# All headers are required: with one missing HAProxy forwards a plain request, which some nodes answer on this port.",
        "# (If only the key is missing, HAProxy answers 400.)",
        "acl is_upgrade req.hdr(Upgrade) -i websocket",
        "acl is_asked req.hdr(Connection) -m sub -i upgrade",
        "acl has_body req.hdr(Content-Length),add(0) gt 0",
        "acl has_body req.hdr(Transfer-Encoding) -m found",
        "http-request set-var(txn.handshake) bool(true) if METH_GET is_upgrade is_asked !has_body",
        "acl is_handshake var(txn.handshake) -m bool",
        f"acl is_path path {' '.join(edge['paths'])}",
        refuse(404, _WRONG, f"WebSocket is at {' and '.join(edge['paths'])}", "!is_path"),
        refuse(426, _WRONG, "this port accepts WebSocket only", "!is_handshake", upgrade),
        f"http-request track-sc0 {_CLIENT} table rpc_sockets unless {_UNLIMITED}",
        refuse(
            429,
            _BUSY,
            f"too many WebSockets: at most {sockets}",
            f"{{ sc_conn_cur(0) gt {sockets} }}",
            _LATER,
        ),
    ]
