"""
A step of an orchestration that calls one function on some hosts. Pure.
"""


def on(hosts, title, function, seconds, **arguments):
    """
    Return the step ``(title, kind, arguments)``, as ``fanatico_orch`` writes it into an SLS.

    hosts
        Minion ids.
    title
        Its title.
    function
        An execution function.
    seconds
        After which Salt asks whether it is still running.
    """
    step = {"name": function, "tgt": list(hosts), "tgt_type": "list", "timeout": seconds}
    return title, "function", step | ({"kwarg": arguments} if arguments else {})


def runner(title, function, **arguments):
    """Return the step that calls a runner of the master."""
    return title, "runner", {"name": function, **arguments}
