"""
What the public may ask of the chain nodes. Pure.
"""


def method_classes(edge):
    """
    Return ``{how a method's name begins: its class}``; the longest beginning counts, and what begins otherwise is forbidden.

    edge
        Pillar ``rpc:edge``: ``allowed``, ``forbidden``, ``heavy`` and ``write``, lists of methods or of how they begin.

    Nothing is allowed that ``allowed`` does not name, and nothing that ``forbidden`` names, whatever the other lists say.
    """
    forbidden, allowed = tuple(edge["forbidden"]), tuple(edge["allowed"])
    found = dict.fromkeys(forbidden, "forbidden")
    for name, names in (("write", edge["write"]), ("heavy", edge["heavy"]), ("read", allowed)):
        for method in names:
            if method.startswith(allowed) and not method.startswith(forbidden):
                found.setdefault(method, name)
    return found
