"""
JSON-RPC client for chain nodes, over HTTP.
"""

from salt.exceptions import CommandExecutionError

import fanatico_http


def request(number, method, params=None):
    """Return one JSON-RPC request, a dict; ``number`` is its id."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params or []}


def result(url, answer):
    """Return the result of one JSON-RPC response; raises ``CommandExecutionError`` with the node's message for an error."""
    if not isinstance(answer, dict) or "result" not in answer:
        error = answer.get("error", {}) if isinstance(answer, dict) else {}
        raise CommandExecutionError(f"{url}: {error.get('message') or 'the response is not JSON-RPC'}")
    return answer["result"]


def call(url, method, params=None, timeout=1.0):
    """Call one method and return its result; raises ``CommandExecutionError`` for an error. ``timeout`` in seconds."""
    answer = fanatico_http.fetch("POST", url, request(1, method, params), timeout=timeout)
    return result(url, answer)


def chain(url, timeout):
    """
    Return the chain status of a node, read in one batch.

    url
        The node's HTTP endpoint.
    timeout
        Seconds.

    Returns ``{"chain_id", "syncing", "head", "head_hash", "head_time"}``, the time in seconds since 1970. Raises
    ``CommandExecutionError`` if the node does not answer or answers with an error.
    """
    batch = [
        request(1, "eth_chainId"),
        request(2, "eth_syncing"),
        request(3, "eth_getBlockByNumber", ["latest", False]),
    ]
    answers = fanatico_http.fetch("POST", url, batch, timeout=timeout)
    if not isinstance(answers, list):
        result(url, answers)
        raise CommandExecutionError(f"{url}: the response to a batch is not a list")
    by_id = {answer.get("id"): answer for answer in answers}
    block = result(url, by_id.get(3)) or {"number": "0x0", "timestamp": "0x0"}
    return {
        "chain_id": int(result(url, by_id.get(1)), 16),
        "syncing": result(url, by_id.get(2)),
        "head": int(block["number"], 16),
        "head_hash": block.get("hash"),
        "head_time": int(block["timestamp"], 16),
    }
