"""
Capacity of the two HAProxy processes, calculated from the pillar. Pure: templates, rules and validation use the same numbers.
"""

# Connections for statistics and metrics. A process has two such ports: on 127.0.0.1 and for operators.
STATISTICS = 100
OWN = 2 * STATISTICS
# A process serves clients on two ports. Each has its own share, so a flood on one port leaves the other its connections.
PORTS = 2
# MiB for one edge process: the program with its Lua states, and the six full tables of edge.cfg with 100,000 clients each.
_PROGRAM, _TABLES = 64, 150
# KiB for a client connection with TLS and its connection to a node; and the number of its buffers of 16 KiB: request, response,
# and a copy of the request for a retry.
_CONNECTION, _BUFFERS = 64, 3
_LARGE = 64  # MiB for requests larger than a buffer; Lua gets four times that, for their responses too


def databases(maxconn):
    """
    Return the limits of concurrent connections, ``{"port", "process", "statistics"}``.

    ``port``: client connections of one port. ``process``: all connections. ``statistics``: connections of one statistics port.

    maxconn
        Pillar ``haproxy:maxconn``: client connections.
    """
    return {"port": maxconn // PORTS, "process": maxconn + OWN, "statistics": STATISTICS}


def edge(maxconn, body_limit):
    """
    Return the limits of the edge process: the keys of ``databases``, and ``{"large", "lua", "buffers", "memory"}``.

    ``large``: concurrent requests larger than a buffer; Lua holds each twice while it joins the pieces.
    ``lua``: MiB for these requests and their responses. ``buffers``: number of buffers of 16 KiB. ``memory``: MiB for all of that
    in use, and for the old process that runs on after a reload.

    maxconn, body_limit
        Pillar ``haproxy:edge:maxconn`` and ``rpc:edge:body_limit`` (bytes).
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
