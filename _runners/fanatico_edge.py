"""
Drain RPC nodes and put them back into HAProxy's rotation; compare CloudFlare's networks.
"""

import ipaddress
import pathlib

from salt.exceptions import CommandExecutionError, SaltInvocationError

import fanatico_master
import fanatico_plan
import fanatico_sweep
import fanatico_wait

__virtualname__ = "fanatico"

_ASK = 10  # seconds for a node to answer


def __init__(opts):
    fanatico_master.plain(globals())


def __virtual__():
    return __virtualname__


def drain(node, reason="", timeout=60, force=False):
    """
    Take an RPC node out of rotation, and wait until no balancer sends it requests and its WebSockets have ended.

    Requests that are running are answered. A WebSocket that is still open after ``timeout`` stays open until the node is stopped.

    node
        An RPC node of the plan.
    reason
        Why; health shows it while the node is drained.
    timeout
        Seconds to wait.
    force
        Also where no other node is in rotation.

    Returns ``{"node", "out": bool, "sockets": how many WebSockets are still open, "others": [nodes in rotation]}``.
    Raises ``CommandExecutionError`` where no other node is in rotation, or a balancer still sends requests after ``timeout``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.drain rpc2 'new disk'
    """
    plan = _plan(node)
    others = [name for name in _ready(plan) if name != node]
    if not others and not force:
        raise CommandExecutionError(
            f"{node} was not drained: no other RPC node is in rotation. Next: salt 'rpc*' fanatico_rpc.rotation, or drain it "
            "all the same with force=True"
        )
    _call(node, "fanatico_rpc.drain", [reason])

    def gone():
        sending = _sending(plan, node)
        return not sending and not _call(node, "fanatico_rpc.sockets"), sending

    _, sending = fanatico_wait.until(gone, timeout, 1)
    if sending:
        raise CommandExecutionError(
            f"{node}: {' and '.join(sending)} still sends it requests after {timeout} s. Next: salt {sending[0]} "
            "fanatico_haproxy.backends"
        )
    return {"node": node, "out": True, "sockets": _call(node, "fanatico_rpc.sockets"), "others": others}


def undrain(node, timeout=120):
    """
    Put an RPC node back into rotation, and wait until every balancer sends it requests. The node has to be in sync first.

    node
        An RPC node of the plan.
    timeout
        Seconds to wait.

    Returns ``{"node", "out": False}``. Raises ``CommandExecutionError`` with the reason where it is still out after ``timeout``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.undrain rpc2
    """
    plan = _plan(node)
    balancers = set(fanatico_plan.nodes(plan, "haproxy"))
    _call(node, "fanatico_rpc.undrain")
    back, missing = fanatico_wait.until(
        lambda: (not (balancers - set(_sending(plan, node))), sorted(balancers - set(_sending(plan, node)))),
        timeout,
        1,
    )
    if not back:
        rotation = _call(node, "fanatico_rpc.rotation")
        raise CommandExecutionError(
            f"{node}: {' and '.join(missing)} does not send it requests after {timeout} s. Its agent reports: {rotation['why']}"
        )
    return {"node": node, "out": False}


def cloudflare_ranges(path):
    """
    Compare CloudFlare's networks in the pillar with those in a file.

    path
        A file on the master, one network in each line: what CloudFlare publishes as ``ips-v4`` and ``ips-v6``, concatenated.

    Returns ``{"added": [...], "gone": [...], "pillar": the text for pillar/cloudflare.sls}``; ``pillar`` is empty where
    nothing differs. Nothing is written: the operator edits the pillar.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.cloudflare_ranges /root/cloudflare-ips.txt
    """
    lines = pathlib.Path(path).read_text(encoding="utf-8").split()
    try:
        new = [str(ipaddress.ip_network(line)) for line in lines]
    except ValueError as exc:
        raise SaltInvocationError(f"{path}: {exc}; the file has to contain one network in each line") from exc
    if not new:
        raise SaltInvocationError(
            f"{path}: the file is empty; without networks the edge would refuse every client"
        )
    balancer = fanatico_plan.nodes(fanatico_master.plan(__opts__), "haproxy")[0]
    pillar, _ = fanatico_master.compiled(__opts__, balancer)
    old = fanatico_plan.setting(pillar, "cloudflare:ranges")
    added = [network for network in new if network not in old]
    gone = [network for network in old if network not in new]
    text = "".join(f"    - {network}\n" for network in new) if added or gone else ""
    return {"added": added, "gone": gone, "pillar": f"  ranges:\n{text}" if text else ""}


def _plan(node):
    plan = fanatico_master.plan(__opts__)
    fanatico_master.known(plan, node, "rpc")
    return plan


def _call(node, function, args=()):
    """Call a function on one minion and return its answer; raises with the answer where that is an error's text."""
    answers = fanatico_sweep.fanout(__opts__, [node], function, list(args), _ASK)
    if node not in answers:
        raise CommandExecutionError(f"{node} did not answer {function} within {_ASK} s")
    if isinstance(answers[node], str):
        raise CommandExecutionError(answers[node])
    return answers[node]


def _ready(plan):
    """Return the RPC nodes that are in rotation by their agents."""
    nodes = fanatico_plan.nodes(plan, "rpc")
    answers = fanatico_sweep.fanout(__opts__, nodes, "fanatico_rpc.rotation", timeout=_ASK)
    return [node for node in nodes if isinstance(answers.get(node), dict) and answers[node]["ready"]]


def _sending(plan, node):
    """Return the balancers that send requests to a node; a balancer that does not answer counts as one of them."""
    balancers = fanatico_plan.nodes(plan, "haproxy")
    answers = fanatico_sweep.fanout(__opts__, balancers, "fanatico_haproxy.backends", timeout=_ASK)
    return [
        balancer
        for balancer in balancers
        if not isinstance(answers.get(balancer), dict)
        or node
        in answers[balancer]
        .get("rpc_http", {"up": [node]})
        .get("up", [])  # its edge may not answer, and still send
    ]
