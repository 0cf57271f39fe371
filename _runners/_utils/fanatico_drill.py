"""
The drills of a running cluster, and what they require. Pure.
"""

# safe: it needs no force=True. unit: it needs a host and a unit.
FAULTS = {
    "switchover": {"safe": True, "unit": False, "what": "switch PostgreSQL over to a replica"},
    "stop": {"safe": True, "unit": True, "what": "stop a service, and start it again"},
    "kill": {"safe": False, "unit": True, "what": "kill the main process of a service, as a crash would"},
}


def refusal(fault, host, unit, units, status, force):
    """
    Return why a drill must not start, as a sentence; empty where it may.

    fault, host, unit
        What was requested; ``host`` and ``unit`` may be None.
    units
        ``{host: [unit, ...]}``: the services that each node of the plan has to keep running.
    status
        The status that ``fanatico.status`` returned, ``ok`` to ``critical``.
    force
        Whether destructive faults are allowed.
    """
    if fault not in FAULTS:
        return f"there is no drill {fault!r}; the drills are {', '.join(FAULTS)}"
    drill = FAULTS[fault]
    if drill["unit"] and (not host or not unit):
        return f"{fault} needs a host and a unit, for example host=haproxy1 unit=haproxy.service"
    if drill["unit"] and host not in units:
        return f"{host} is no node of the plan that runs a service; those are {', '.join(units)}"
    if drill["unit"] and unit not in units[host]:
        return f"{unit} is no service of {host}; its services are {', '.join(units[host])}"
    if not drill["safe"] and not force:
        return f"{fault} is destructive; allow it with force=True"
    if status != "ok":
        return f"the cluster is {status}, and a drill needs one that is ok. Next: salt-run fanatico.status"
    return ""


def sentence(fault, figures):
    """Return what a client measured, as one line; ``figures`` as ``fanatico_drill.load`` returns them."""
    return (
        f"{fault}: no write for {figures['write_gap']:.2f} s, no read for {figures['read_gap']:.2f} s; "
        f"writes: {figures['acknowledged']} acknowledged, {figures['unknown']} unknown, {figures['lost']} lost"
    )
