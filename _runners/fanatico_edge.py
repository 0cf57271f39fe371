"""
The RPC nodes' place in HAProxy's rotation, taken and given back one by one; and CloudFlare's networks.
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
    Take an RPC node out of rotation, and wait until no balancer sends it anything new and its WebSockets have ended.

    Requests it is at are answered. A WebSocket that does not end by itself is left alone; whoever stops the node ends it.

    node
        An RPC node of the plan.
    reason
        For the history of the node's health.
    timeout
        Seconds to wait.
    force
        Also where no other node is in rotation.

    Returns ``{"node", "out": bool, "sockets": how many WebSockets are still open, "others": [nodes in rotation]}``.
    Raises ``CommandExecutionError`` where it is the last one, or a balancer still sends it requests after ``timeout``.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.drain rpc2 'new disk'
    """
    plan = _plan(node)
    others = [one for one in _ready(plan) if one != node]
    if not others and not force:
        raise CommandExecutionError(
            f"{node}: no other RPC node is in rotation, so it stays. Next: salt 'rpc*' fanatico_rpc.rotation; force=True "
            "takes it out all the same"
        )
    _one(node, "fanatico_rpc.drain", [reason])

    def gone():
        sending = _sending(plan, node)
        return not sending and not _one(node, "fanatico_rpc.sockets"), sending

    _, sending = fanatico_wait.until(gone, timeout, 1)
    if sending:
        raise CommandExecutionError(
            f"{node}: after {timeout} s {' and '.join(sending)} still sends it requests. Next: salt '{sending[0]}' "
            "fanatico_haproxy.backends"
        )
    return {"node": node, "out": True, "sockets": _one(node, "fanatico_rpc.sockets"), "others": others}


def undrain(node, timeout=120):
    """
    Put an RPC node back into rotation, and wait until every balancer sends it requests: it has to be in sync first.

    node
        An RPC node of the plan.
    timeout
        Seconds to wait.

    Returns ``{"node", "out": False}``. Raises ``CommandExecutionError`` where it is still out after ``timeout``, and why.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.undrain rpc2
    """
    plan = _plan(node)
    balancers = set(fanatico_plan.nodes(plan, "haproxy"))
    _one(node, "fanatico_rpc.undrain")
    back, missing = fanatico_wait.until(
        lambda: (not (balancers - set(_sending(plan, node))), sorted(balancers - set(_sending(plan, node)))),
        timeout,
        1,
    )
    if not back:
        told = _one(node, "fanatico_rpc.rotation")
        raise CommandExecutionError(
            f"{node}: after {timeout} s {' and '.join(missing)} does not send it requests; its agent says: {told['why']}"
        )
    return {"node": node, "out": False}


def cloudflare_ranges(path):
    """
    Compare CloudFlare's networks in the pillar with those in a file, as CloudFlare publishes them (one a line).

    path
        A file on the master: the texts of ``ips-v4`` and ``ips-v6``, one behind the other.

    Returns ``{"added": [...], "gone": [...], "pillar": the text for pillar/cloudflare.sls}``; ``pillar`` is empty where
    nothing differs. The pillar is a person's: nothing is written.

    CLI Example:

    .. code-block:: bash

        salt-run fanatico.cloudflare_ranges /root/cloudflare-ips.txt
    """
    lines = pathlib.Path(path).read_text(encoding="utf-8").split()
    try:
        new = [str(ipaddress.ip_network(line)) for line in lines]
    except ValueError as exc:
        raise SaltInvocationError(f"{path}: {exc}; it has to hold one network a line") from exc
    if not new:
        raise SaltInvocationError(f"{path}: it is empty, and without networks nobody would be let in")
    balancer = fanatico_plan.nodes(fanatico_master.plan(__opts__), "haproxy")[0]
    pillar, _ = fanatico_master.compiled(__opts__, balancer)
    old = fanatico_plan.setting(pillar, "cloudflare:ranges")
    added, gone = [one for one in new if one not in old], [one for one in old if one not in new]
    text = "".join(f"    - {one}\n" for one in new) if added or gone else ""
    return {"added": added, "gone": gone, "pillar": f"  ranges:\n{text}" if text else ""}


def _plan(node):
    plan = fanatico_master.plan(__opts__)
    fanatico_master.known(plan, node, "rpc")
    return plan


def _one(node, function, args=()):
    """Return what one minion answered; raises with its own words where that is an error."""
    answers = fanatico_sweep.fanout(__opts__, [node], function, list(args), _ASK)
    if node not in answers:
        raise CommandExecutionError(f"{node} did not answer {function} within {_ASK} s")
    if isinstance(answers[node], str):
        raise CommandExecutionError(answers[node])
    return answers[node]


def _ready(plan):
    """Return the RPC nodes whose agents let them take requests."""
    nodes = fanatico_plan.nodes(plan, "rpc")
    told = fanatico_sweep.fanout(__opts__, nodes, "fanatico_rpc.rotation", timeout=_ASK)
    return [node for node in nodes if isinstance(told.get(node), dict) and told[node]["ready"]]


def _sending(plan, node):
    """Return the balancers that send requests to a node; one that does not answer counts as one that does."""
    balancers = fanatico_plan.nodes(plan, "haproxy")
    told = fanatico_sweep.fanout(__opts__, balancers, "fanatico_haproxy.backends", timeout=_ASK)
    return [
        one
        for one in balancers
        if not isinstance(told.get(one), dict) or node in told[one].get("rpc_http", {}).get("up", [])
    ]
