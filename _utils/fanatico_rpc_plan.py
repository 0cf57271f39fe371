"""
What an RPC node's programs are given, by the plan and the pillar. Pure.
"""

import fanatico_plan
import fanatico_systemd

DATA = "/var/lib/fanatico-rpc"  # of the node's unit: StateDirectory


def command(pillar, node, home):
    """
    Return the command line of the node's program, for ``ExecStart``.

    pillar
        An RPC node's.
    node
        Its id.
    home
        Where artefacts are installed.

    Raises ``ValueError`` where the pillar lacks what the program cannot do without.
    """
    rpc, words = pillar["rpc"], _words(pillar, node)
    program = _program(rpc["artifact"])
    path = program if program.startswith("/") else f"{home}/current/{program}"
    arguments = (fanatico_systemd.argument(_filled(one, words)) for one in rpc["exec"]["args"])
    return " ".join([path, *arguments])


def _program(artifact):
    """Return the program's path, inside of what is installed unless it is absolute; a downloaded program has its own name."""
    name = artifact.get("bin") or artifact.get("source", "").split("/")[-1]
    if not name:
        raise ValueError(
            "rpc:artifact:bin is empty in the pillar: name the program that the package installs"
        )
    return name


def _words(pillar, node):
    """Return what stands for what in ``rpc:exec:args``."""
    ports, chain = pillar["plan"]["ports"], pillar["rpc"]["chain"]
    if not chain.get("id"):
        raise ValueError(
            "rpc:chain:id is empty in the pillar: without it a node of another chain would pass as healthy"
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
        An RPC node's.
    node
        Its id.
    drained
        The file that says that a person has taken the node out.
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
    Return the settings of what stands before the node's WebSocket (``salt/rpc/files/rpc_ws.py``).

    pillar
        An RPC node's.
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
