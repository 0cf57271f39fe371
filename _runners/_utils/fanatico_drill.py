"""
What may be broken on purpose on a running cluster, and what speaks against it. Pure.
"""

# What is done to whom; whether any fleet bears it without being asked twice.
FAULTS = {
    "switchover": {"safe": True, "unit": False, "what": "hand the lead of PostgreSQL over"},
    "stop": {"safe": True, "unit": True, "what": "stop one service, and start it again"},
    "kill": {"safe": False, "unit": True, "what": "end one service's main process as a crash would"},
}


def refusal(fault, host, unit, units, status, force):
    """
    Return why a drill must not begin, as a sentence; empty when it may.

    fault, host, unit
        What was asked for; ``host`` and ``unit`` may be None.
    units
        ``{host: [unit, ...]}``: what each node of the plan has to keep running.
    status
        What ``fanatico.status`` says, ``ok`` to ``critical``.
    force
        Whether somebody insists.
    """
    if fault not in FAULTS:
        return f"there is no drill {fault!r}; there are {', '.join(FAULTS)}"
    one = FAULTS[fault]
    if one["unit"] and (not host or not unit):
        return f"{fault} needs a host and a unit, for example host=haproxy1 unit=haproxy.service"
    if one["unit"] and host not in units:
        return f"{host} is no node of the plan with a service of ours; those are {', '.join(units)}"
    if one["unit"] and unit not in units[host]:
        return f"{unit} is none of the services of {host}: {', '.join(units[host])}"
    if not one["safe"] and not force:
        return f"{fault} is harder than what a fleet does every week; add force=True where that is meant"
    if status != "ok":
        return f"the cluster is {status}, and a drill begins on one that is ok; `salt-run fanatico.status` says why"
    return ""


def sentence(fault, figures):
    """Return what a client saw, in one line; ``figures`` as ``fanatico_drill.load`` returns them."""
    return (
        f"{fault}: no write for {figures['write_gap']:.2f} s, no read for {figures['read_gap']:.2f} s, "
        f"{figures['acknowledged']} acknowledged, {figures['unknown']} unknown, {figures['lost']} lost"
    )
