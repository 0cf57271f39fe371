"""
The blockchain's JSON-RPC on this node and its peers, over HTTP and WebSocket.
"""

import http.client
import json
import pathlib
import select
import time

from salt.exceptions import CommandExecutionError

import fanatico_jsonrpc
import fanatico_plan
import fanatico_rpc_agent
import fanatico_rpc_checks
import fanatico_wait

AGENT = "/etc/fanatico/rpc-agent.json"  # what the agent of this node was given


def _get(path, default=None):
    return fanatico_plan.get(__pillar__, path, default)


def _me():
    return __opts__["id"]


def _setting(path):
    return fanatico_plan.setting(__pillar__, path)


def _nodes():
    return fanatico_plan.addresses(__pillar__["plan"], "rpc")


def _address(node):
    """Return the address of ``node``: an RPC node of the plan, this one without one, an address as it is."""
    nodes = _nodes()
    node = node or _me()
    if node in nodes:
        return nodes[node]
    if node.count(".") == 3:
        return node
    raise CommandExecutionError(f"{node} is not an RPC node of the plan: it has {', '.join(nodes)}")


def _url(address, scheme="http"):
    return f"{scheme}://{address}:{_get(f'plan:ports:rpc_{scheme}')}"


def call(method, params=None, node=None, timeout=2):
    """
    Call one JSON-RPC method and return its result.

    method
        For example ``eth_chainId``.
    params
        List of parameters.
    node
        An RPC node of the plan or an address (the virtual one, say); this node without one.
    timeout
        Seconds.

    Raises ``CommandExecutionError`` with the node's own words where it answers with an error.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc.call eth_getBlockByNumber '[latest, false]'
    """
    return fanatico_jsonrpc.call(_url(_address(node)), method, params, timeout)


_OWED = "fanatico_rpc.owed"


def owed():
    """
    Return for how many seconds this node has owed an answer, without waiting for it; 0.0 once it came.

    The question stays open from one call to the next of the same process. So the beacon can tell a node that answers late from
    one that does not answer, and watches everything else meanwhile.

    Raises ``OSError`` where the node takes no connection.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc.owed
    """
    asked = __context__.get(_OWED)
    if not asked:
        __context__[_OWED] = (_open_question(), time.monotonic())
        return 0.0
    question, since = asked
    answered, _, _ = select.select([question.sock], [], [], 0)
    if not answered:
        return time.monotonic() - since
    del __context__[_OWED]
    question.close()
    return 0.0


def _open_question():
    question = http.client.HTTPConnection(_address(None), _get("plan:ports:rpc_http"), timeout=1)
    body = json.dumps(fanatico_jsonrpc.request(1, "eth_blockNumber"))
    question.request("POST", "/", body, {"Content-Type": "application/json"})
    return question


def head(node=None, timeout=2):
    """
    Return the number of the newest block.

    node
        An RPC node of the plan or an address; this node without one.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc.head
    """
    return int(call("eth_blockNumber", node=node, timeout=timeout), 16)


def syncing(node=None, timeout=2):
    """
    Return False, or what the node says of its progress while it is syncing.

    node
        An RPC node of the plan or an address; this node without one.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc.syncing
    """
    return call("eth_syncing", node=node, timeout=timeout)


def subscribe(count=1, timeout=10, node=None):
    """
    Subscribe to ``newHeads`` over WebSocket and return the first ``count`` of them, ``[{"number", "hash"}]``.

    count
        How many heads.
    timeout
        Seconds, for all of them; then ``CommandExecutionError`` saying how many came.
    node
        An RPC node of the plan or an address; this node without one.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc.subscribe 2 timeout=10
    """
    import websocket

    url = _url(_address(node), "ws")
    deadline = time.monotonic() + timeout
    heads = []
    try:
        connection = websocket.create_connection(url, timeout=timeout, http_no_proxy=["*"])
    except (OSError, websocket.WebSocketException) as exc:
        raise CommandExecutionError(f"{url}: no WebSocket: {exc}") from exc
    try:
        connection.send(json.dumps(fanatico_jsonrpc.request(1, "eth_subscribe", ["newHeads"])))
        while len(heads) < count:
            connection.settimeout(max(0.01, deadline - time.monotonic()))
            message = json.loads(connection.recv())
            if "error" in message:
                raise CommandExecutionError(f"{url}: eth_subscribe: {message['error'].get('message')}")
            if message.get("method") == "eth_subscription":
                block = message["params"]["result"]
                heads.append({"number": int(block["number"], 16), "hash": block["hash"]})
    except (OSError, ValueError, websocket.WebSocketException) as exc:
        raise CommandExecutionError(
            f"{url}: subscribed to newHeads and had {len(heads)} of {count} within {timeout:g} s ({exc})"
        ) from exc
    finally:
        connection.close(timeout=1)
    return heads


def rotation(timeout=2):
    """
    Return ``{"ready": bool, "why": str, "drained": bool}``: whether this node's agent lets HAProxy send it requests.

    timeout
        Seconds.

    Raises ``CommandExecutionError`` where the agent does not answer.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc.rotation
    """
    told = heard(_me(), timeout)
    return {"ready": told["ready"], "why": told["why"], "drained": _drained().exists()}


def heard(node, timeout=2):
    """
    Return what a node's agent says: ``{"ready": bool, "why": str, "head": int, "syncing": bool, "peers": int}``.

    node
        An RPC node of the plan.
    timeout
        Seconds, to connect, and for the answer as a whole.

    ``head``, ``syncing`` and ``peers`` are what the node says of itself, None where it does not answer its agent or says what is
    none. Chain nodes ask each other's agents, never each other.

    Raises ``CommandExecutionError`` where the agent does not answer.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc.heard rpc2
    """
    place = (_address(node), fanatico_plan.port(__pillar__["plan"], "rpc_agent"))
    try:
        return fanatico_rpc_agent.query(place, timeout)
    except (OSError, ValueError, AttributeError, RecursionError) as exc:
        raise CommandExecutionError(
            f"{node}: the agent at port {place[1]} does not answer ({exc}): HAProxy goes by its last word. Next: "
            f"journalctl -u fanatico-rpc-agent -n 50 on {node}"
        ) from exc


def _peer_head(node, timeout):
    """Return another node's head by its agent's word; raises where there is none."""
    said = heard(node, timeout)["head"]
    if said is None:
        raise CommandExecutionError(f"{node}: its agent knows no head of it")
    return said


def _drained():
    """Return the file that this node's agent looks for: one of an earlier release looks elsewhere."""
    try:
        return pathlib.Path(json.loads(pathlib.Path(AGENT).read_text(encoding="utf-8"))["drained"])
    except (OSError, ValueError, LookupError) as exc:
        raise CommandExecutionError(
            f"{_me()}: the agent's settings cannot be read ({exc}). Next: salt-call state.apply rpc"
        ) from exc


def drain(reason=""):
    """
    Have the agent tell HAProxy to send this node nothing new; what it is at goes on. ``salt-run fanatico.drain`` waits, too.

    reason
        For whoever looks at the node's health meanwhile.

    It holds over restarts and reboots, until ``fanatico_rpc.undrain``.

    CLI Example:

    .. code-block:: bash

        salt rpc2 fanatico_rpc.drain 'new disk'
    """
    path = _drained()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{reason or 'no reason given'}\n", encoding="utf-8")
    return rotation()


def undrain():
    """
    Let this node take requests again, as soon as its agent finds it fit.

    CLI Example:

    .. code-block:: bash

        salt rpc2 fanatico_rpc.undrain
    """
    _drained().unlink(missing_ok=True)
    return rotation()


def sockets():
    """
    Return how many WebSockets are open to this node.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc.sockets
    """
    import psutil

    mine = (_nodes()[_me()], _get("plan:ports:rpc_ws"))
    return sum(
        one.status == psutil.CONN_ESTABLISHED and tuple(one.laddr) == mine
        for one in psutil.net_connections("tcp4")
    )


def _websocket(address, timeout):
    """Return whether the WebSocket port shakes hands; raises with the reason where not."""
    import websocket

    url = _url(address, "ws")
    try:
        websocket.create_connection(url, timeout=timeout, http_no_proxy=["*"]).shutdown()
    except (OSError, websocket.WebSocketException) as exc:
        raise CommandExecutionError(f"{url}: {exc.strerror if isinstance(exc, OSError) else exc}") from exc
    return True


def probe(timeout=2):
    """
    Look at this node's RPC and its peers' heads once: ``{"facts": {...}, "checks": {name: check}}``.

    timeout
        Seconds, for each question; they are asked side by side.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc.probe
    """
    nodes = _nodes()
    mine = nodes.pop(_me())
    probes = {
        "local": lambda: fanatico_jsonrpc.chain(_url(mine), timeout),
        "websocket": lambda: _websocket(mine, timeout),
        "rotation": lambda: rotation(timeout),
    }
    for name in nodes:
        probes[f"head {name}"] = lambda name=name: _peer_head(name, timeout)
    answers = fanatico_wait.gather(probes, timeout * 1.5)
    facts = {name: value for name, (value, error) in answers.items() if error is None and " " not in name}
    facts["peers"] = {
        name.removeprefix("head "): value
        for name, (value, error) in answers.items()
        if error is None and name.startswith("head ")
    }
    facts["errors"] = {name: str(error) for name, (_, error) in answers.items() if error is not None}
    settings = {
        "chain_id": _get("rpc:chain:id"),
        "block_time": _setting("rpc:chain:block_time"),
        "max_lag": _setting("rpc:health:max_lag"),
    }
    return {"facts": facts, "checks": fanatico_rpc_checks.member(facts, settings, _me(), time.time())}


def checks(timeout=2):
    """
    Return the checks of RPC on this node, ``{name: check}``.

    timeout
        Seconds, for each question; they are asked side by side.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc.checks
    """
    return probe(timeout)["checks"]
