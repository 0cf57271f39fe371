"""
JSON-RPC of this chain node and its peers, over HTTP and WebSocket: health, calls, drain.
"""

import functools
import http.client
import json
import pathlib
import select
import time
from collections.abc import Callable
from typing import Any

from salt.exceptions import CommandExecutionError

import fanatico_jsonrpc
import fanatico_plan
import fanatico_rpc_agent
import fanatico_rpc_checks
import fanatico_wait

AGENT = "/etc/fanatico/rpc-agent.json"  # the settings of this node's agent


def _get(path, default=None):
    return fanatico_plan.get(__pillar__, path, default)


def _me():
    return __opts__["id"]


def _setting(path):
    return fanatico_plan.setting(__pillar__, path)


def _nodes():
    return fanatico_plan.addresses(__pillar__["plan"], "rpc")


def _address(node):
    """Return the address of an RPC node of the plan (default: this node); an address is returned unchanged."""
    nodes = _nodes()
    node = node or _me()
    if node in nodes:
        return nodes[node]
    if node.count(".") == 3:
        return node
    raise CommandExecutionError(f"{node} is not an RPC node of the plan; possible: {', '.join(nodes)}")


def _url(address, scheme="http"):
    return f"{scheme}://{address}:{_get(f'plan:ports:rpc_{scheme}')}"


def call(method: str, params: list | None = None, node: str | None = None, timeout: float = 2) -> Any:
    """
    Call one JSON-RPC method and return its result.

    method
        For example ``eth_chainId``.
    params
        List of parameters.
    node
        An RPC node of the plan or an address, for example the virtual IP; default: this node.
    timeout
        Seconds.

    Raises ``CommandExecutionError`` with the node's message if it answers with an error.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc.call eth_getBlockByNumber '[latest, false]'
    """
    return fanatico_jsonrpc.call(_url(_address(node)), method, params, timeout)


_PENDING = "fanatico_rpc.unanswered_seconds"


def unanswered_seconds() -> float:
    """
    Return for how many seconds a request to this node has been unanswered, without waiting; 0.0 once it is answered.

    The request stays open from one call to the next in the same process. So the beacon can distinguish a slow node from a hung
    node, without blocking.

    Raises ``OSError`` if the node accepts no connection.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc.unanswered_seconds
    """
    pending = __context__.get(_PENDING)
    if not pending:
        __context__[_PENDING] = (_send_request(), time.monotonic())
        return 0.0
    connection, since = pending
    answered, _, _ = select.select([connection.sock], [], [], 0)
    if not answered:
        return time.monotonic() - since
    del __context__[_PENDING]
    connection.close()
    return 0.0


def _send_request():
    connection = http.client.HTTPConnection(_address(None), _get("plan:ports:rpc_http"), timeout=1)
    body = json.dumps(fanatico_jsonrpc.request(1, "eth_blockNumber"))
    connection.request("POST", "/", body, {"Content-Type": "application/json"})
    return connection


def head(node: str | None = None, timeout: float = 2) -> int:
    """
    Return the number of the newest block.

    node
        An RPC node of the plan or an address; default: this node.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc.head
    """
    return int(call("eth_blockNumber", node=node, timeout=timeout), 16)


def syncing(node: str | None = None, timeout: float = 2) -> dict | bool:
    """
    Return False, or the progress that the node reports while it is syncing.

    node
        An RPC node of the plan or an address; default: this node.
    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc.syncing
    """
    return call("eth_syncing", node=node, timeout=timeout)


def subscribe(count: int = 1, timeout: float = 10, node: str | None = None) -> list[dict]:
    """
    Subscribe to ``newHeads`` over WebSocket and return the first ``count`` of them, ``[{"number", "hash"}]``.

    count
        How many heads.
    timeout
        Seconds, in total.
    node
        An RPC node of the plan or an address; default: this node.

    Raises ``CommandExecutionError`` with the number of heads received if they do not arrive in time.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc.subscribe 2 timeout=10
    """
    import websocket

    url = _url(_address(node), "ws")
    deadline = time.monotonic() + timeout
    heads: list[dict] = []
    try:
        connection = websocket.create_connection(url, timeout=timeout, http_no_proxy=["*"])
    except (OSError, websocket.WebSocketException) as exc:
        raise CommandExecutionError(f"{url}: cannot open a WebSocket: {exc}") from exc
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
            f"{url}: received {len(heads)} of {count} new heads within {timeout:g} s ({exc})"
        ) from exc
    finally:
        connection.close(timeout=1)
    return heads


def rotation(timeout: float = 2) -> dict:
    """
    Return whether this node is in rotation, ``{"ready": bool, "why": str, "drained": bool}``, as its agent tells HAProxy.

    timeout
        Seconds.

    Raises ``CommandExecutionError`` if the agent does not answer.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc.rotation
    """
    status = agent_status(_me(), timeout)
    return {"ready": status["ready"], "why": status["why"], "drained": _drained().exists()}


def agent_status(node: str, timeout: float = 2) -> dict:
    """
    Return the status that a node's agent reports.

    node
        An RPC node of the plan.
    timeout
        Seconds, to connect, and for the complete answer.

    Returns ``{"ready": bool, "why": str, "head": int, "syncing": bool, "peers": int}``. ``head``, ``syncing`` and ``peers`` come
    from the node; they are None if it does not answer its agent or its answer is invalid. Chain nodes query each other's agents,
    never each other.

    Raises ``CommandExecutionError`` if the agent does not answer.

    CLI Example:

    .. code-block:: bash

        salt rpc1 fanatico_rpc.agent_status rpc2
    """
    place = (_address(node), fanatico_plan.port(__pillar__["plan"], "rpc_agent"))
    try:
        return fanatico_rpc_agent.query(place, timeout)
    except (OSError, ValueError, AttributeError, RecursionError) as exc:
        raise CommandExecutionError(
            f"{node}: the agent on port {place[1]} does not answer ({exc}); HAProxy keeps its last state. Next: "
            f"journalctl -u fanatico-rpc-agent -n 50 on {node}"
        ) from exc


def _peer_head(node, timeout):
    """Return the head of another node as its agent reports it; raise if it has none."""
    head = agent_status(node, timeout)["head"]
    if head is None:
        raise CommandExecutionError(f"{node}: its agent reports no head")
    return head


def _drained():
    """Return the path of the drain file from the agent's settings: an agent of an earlier release uses another path."""
    try:
        return pathlib.Path(json.loads(pathlib.Path(AGENT).read_text(encoding="utf-8"))["drained"])
    except (OSError, ValueError, LookupError) as exc:
        raise CommandExecutionError(
            f"{_me()}: the agent's settings cannot be read ({exc}). Next: salt-call state.apply rpc"
        ) from exc


def drain(reason: str = "") -> dict:
    """
    Drain this node: HAProxy sends it no new requests, and running requests end. ``salt-run fanatico.drain`` also waits for that.

    reason
        Shown in the node's health.

    The drain survives restarts and reboots, until ``fanatico_rpc.undrain``.

    CLI Example:

    .. code-block:: bash

        salt rpc2 fanatico_rpc.drain 'new disk'
    """
    path = _drained()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{reason or 'no reason given'}\n", encoding="utf-8")
    return rotation()


def undrain() -> dict:
    """
    End a drain: HAProxy sends this node requests again as soon as its agent reports it as ready.

    CLI Example:

    .. code-block:: bash

        salt rpc2 fanatico_rpc.undrain
    """
    _drained().unlink(missing_ok=True)
    return rotation()


def sockets() -> int:
    """
    Return the number of WebSockets open to this node.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc.sockets
    """
    import psutil

    mine = (_nodes()[_me()], _get("plan:ports:rpc_ws"))
    return sum(
        connection.status == psutil.CONN_ESTABLISHED and tuple(connection.laddr) == mine
        for connection in psutil.net_connections("tcp4")
    )


def _websocket(address, timeout):
    """Return True if the WebSocket handshake succeeds; raise with the reason if not."""
    import websocket

    url = _url(address, "ws")
    try:
        websocket.create_connection(url, timeout=timeout, http_no_proxy=["*"]).shutdown()
    except (OSError, websocket.WebSocketException) as exc:
        raise CommandExecutionError(f"{url}: {exc.strerror if isinstance(exc, OSError) else exc}") from exc
    return True


def probe(timeout: float = 2) -> dict:
    """
    Probe this node's RPC and its peers' heads once: ``{"facts": {...}, "checks": {name: check}}``. Never raises.

    timeout
        Seconds, for each request; all run in parallel.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc.probe
    """
    nodes = _nodes()
    mine = nodes.pop(_me())
    probes: dict[str, Callable] = {
        "local": lambda: fanatico_jsonrpc.chain(_url(mine), timeout),
        "websocket": lambda: _websocket(mine, timeout),
        "rotation": lambda: rotation(timeout),
    }
    for name in nodes:
        probes[f"head {name}"] = functools.partial(_peer_head, name, timeout)
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


def checks(timeout: float = 2) -> dict[str, dict]:
    """
    Return the checks of RPC on this node, ``{name: check}``.

    timeout
        Seconds, for each request; all run in parallel.

    CLI Example:

    .. code-block:: bash

        salt 'rpc*' fanatico_rpc.checks
    """
    return probe(timeout)["checks"]
