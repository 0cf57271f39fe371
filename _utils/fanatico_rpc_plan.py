"""
Settings of the programs on an RPC node, derived from the plan and the pillar. Pure.
"""

import fanatico_plan
import fanatico_systemd

DATA = "/var/lib/fanatico-rpc"  # StateDirectory of the node's unit


def command(pillar, node, home):
    """
    Return the command line of the node's program, for ``ExecStart``.

    pillar
        The pillar of an RPC node.
    node
        Its id.
    home
        The folder in which artifacts are installed.

    Raises ``ValueError`` if a required setting is missing in the pillar.
    """
    rpc, words = pillar["rpc"], _words(pillar, node)
    program = _program(rpc["artifact"])
    path = program if program.startswith("/") else f"{home}/current/{program}"
    arguments = (fanatico_systemd.argument(_filled(text, words)) for text in rpc["exec"]["args"])
    return " ".join([path, *arguments])


def _program(artifact):
    """Return the program's path, relative to the installed artifact or absolute; by default the name of the download."""
    name = artifact.get("bin") or artifact.get("source", "").split("/")[-1]
    if not name:
        raise ValueError(
            "rpc:artifact:bin is empty in the pillar. Next: set the path of the program that the package installs"
        )
    return name


def _words(pillar, node):
    """Return the placeholders in ``rpc:exec:args`` and their values."""
    ports, chain = pillar["plan"]["ports"], pillar["rpc"]["chain"]
    if not chain.get("id"):
        raise ValueError(
            "rpc:chain:id is empty in the pillar; without it a node of another chain would pass as healthy. "
            "Next: set it in pillar/site/init.sls"
        )
    return {
        "{address}": fanatico_plan.address(pillar["plan"], node),
        "{http_port}": ports["rpc_http"],
        "{ws_port}": ports["rpc_ws"],
        "{chain_id}": chain["id"],
        "{block_time}": chain["block_time"],
        "{data_dir}": DATA,
    }


def _filled(text, words):
    text = str(text)
    for word, value in words.items():
        text = text.replace(word, str(value))
    return text


def agent(pillar, node, drained):
    """
    Return the settings of the node's agent (``salt/rpc/files/rpc_agent.py``).

    pillar
        The pillar of an RPC node.
    node
        Its id.
    drained
        The file that exists while an operator has drained the node.
    """
    plan, rpc = pillar["plan"], pillar["rpc"]
    port, addresses = fanatico_plan.port(plan, "rpc_agent"), fanatico_plan.addresses(plan, "rpc")
    return {
        "own": node,
        "node": [fanatico_plan.address(plan, node), plan["ports"]["rpc_http"]],
        "agents": {name: [address, port] for name, address in addresses.items() if name != node},
        "drained": drained,
        "block_time": rpc["chain"]["block_time"],
        **{name: rpc["health"][name] for name in ("max_lag", "max_jump", "min_peers")},
    }


def websocket_proxy(pillar, node):
    """
    Return the settings of the WebSocket filter proxy (``salt/rpc/files/rpc_ws.py``).

    pillar
        The pillar of an RPC node.
    node
        Its id.
    """
    plan, edge = pillar["plan"], pillar["rpc"]["edge"]
    own = fanatico_plan.address(plan, node)
    names = ("allowed", "forbidden", "heavy", "write", "limits", "batch_limit", "body_limit")
    return {
        "listen": [own, plan["ports"]["rpc_ws"]],
        "node": [own, plan["ports"]["rpc_http"]],
        **{name: edge[name] for name in names},
    }
