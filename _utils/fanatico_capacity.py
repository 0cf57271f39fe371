"""
How much the two processes of HAProxy may hold at once, by the pillar. Pure: templates, rules and validation count with the same.
"""

# Connections for statistics and metrics, for which a process has them twice: on 127.0.0.1, and for people.
STATISTICS = 100
OWN = 2 * STATISTICS
# A process serves the public, or the databases, on two ports. Each has a share of its own: a flood on one leaves the other its
# room.
PORTS = 2
# Of one process of the edge, MiB: the program with its Lua states, and edge.cfg's six tables of 100,000 clients, full.
_PROGRAM, _TABLES = 64, 150
# KiB: a connection of a client with TLS and that to a node, and what it has in buffers of 16: the request, the answer, and the
# copy with which a request is asked again.
_CONNECTION, _BUFFERS = 64, 3
_LARGE = 64  # MiB of requests that fit into no buffer; with their answers Lua has four times that


def databases(maxconn):
    """
    Return how many connections there may be at once, ``{"port", "process", "statistics"}``.

    ``port``: of the clients of one port. ``process``: all. ``statistics``: of one port for statistics and metrics.

    maxconn
        Pillar ``haproxy:maxconn``: those of clients.
    """
    return {"port": maxconn // PORTS, "process": maxconn + OWN, "statistics": STATISTICS}


def edge(maxconn, body_limit):
    """
    Return what the edge's process may hold: ``databases``'s keys, and ``{"large", "lua", "buffers", "memory"}``.

    ``large``: requests at once that fit into no buffer; they are held by Lua, each twice while its pieces are put together.
    ``lua``: MiB for them and their answers. ``buffers``: how many of 16 KiB. ``memory``: MiB that it takes with all of that in
    use, beside a process that a reload left.

    maxconn, body_limit
        Pillar ``haproxy:edge:maxconn`` and ``rpc:edge:body_limit``.
    """
    large = max(1, _LARGE * 2**20 // (2 * body_limit))
    lua, buffers = 4 * _LARGE, _BUFFERS * (maxconn + OWN + large)
    own = lua + -(-(maxconn * _CONNECTION + maxconn * _BUFFERS * 16) // 1024)
    usual = databases(maxconn)
    return {
        **usual,
        "process": usual["process"] + large,
        "large": large,
        "lua": lua,
        "buffers": buffers,
        "memory": 2 * (_PROGRAM + _TABLES) + own,
    }
