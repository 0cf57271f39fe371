"""
JSON-RPC over HTTP, as a chain node speaks it.
"""

from salt.exceptions import CommandExecutionError

import fanatico_http


def request(number, method, params=None):
    """Return one request as it is sent."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params or []}


def result(url, answer):
    """Return the result in one JSON-RPC answer, or raise with the node's own words."""
    if not isinstance(answer, dict) or "result" not in answer:
        error = answer.get("error", {}) if isinstance(answer, dict) else {}
        raise CommandExecutionError(f"{url}: {error.get('message') or 'no JSON-RPC in the answer'}")
    return answer["result"]


def call(url, method, params=None, timeout=1.0):
    """Call one method and return its result."""
    answer = fanatico_http.fetch("POST", url, request(1, method, params), timeout=timeout)
    return result(url, answer)


def chain(url, timeout):
    """Return what this node says of its chain, in one batch."""
    batch = [
        request(1, "eth_chainId"),
        request(2, "eth_syncing"),
        request(3, "eth_getBlockByNumber", ["latest", False]),
    ]
    answers = fanatico_http.fetch("POST", url, batch, timeout=timeout)
    if not isinstance(answers, list):
        result(url, answers)
        raise CommandExecutionError(f"{url}: a batch was not answered with a list")
    by_id = {answer.get("id"): answer for answer in answers}
    block = result(url, by_id.get(3)) or {"number": "0x0", "timestamp": "0x0"}
    return {
        "chain_id": int(result(url, by_id.get(1)), 16),
        "syncing": result(url, by_id.get(2)),
        "head": int(block["number"], 16),
        "head_hash": block.get("hash"),
        "head_time": int(block["timestamp"], 16),
    }
