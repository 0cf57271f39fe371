"""
Health for a person: one line for each node, and one for each check that does not hold.

Shown for ``salt '*' fanatico.health`` and ``salt-run fanatico.status``; ``--out=json`` or ``--out=nested`` give the
data as it is.
"""

import textwrap

import salt.output
import salt.utils.color

COLORS = {"ok": "GREEN", "unknown": "YELLOW", "degraded": "YELLOW", "critical": "LIGHT_RED"}
WIDTH = 120
NAMES = 29  # where the statuses begin
DETAILS = NAMES + 11  # and the details


def output(data, **kwargs):
    """
    Return ``data`` as a table; anything that is no health at all goes to the outputter ``nested``.

    data
        What ``fanatico.status`` returned, or ``{id: what fanatico.health returned}``.
    """
    paint = _painter(salt.utils.color.get_colors(__opts__.get("color"), __opts__.get("color_theme")))
    if _is_status(data):
        return "\n".join(_status(data, paint))
    if isinstance(data, dict) and all(map(_is_health, data.values())):
        return "\n".join(line for name, one in data.items() for line in _node(name, one, paint))
    return salt.output.out_format(data, "nested", __opts__, **kwargs)


def _is_health(one):
    return isinstance(one, dict) and {"status", "roles", "checks"} <= one.keys()


def _is_status(data):
    return isinstance(data, dict) and {"status", "nodes", "checks"} <= data.keys()


def _painter(colors):
    def paint(status, width=0):
        return f"{colors[COLORS.get(status, 'YELLOW')]}{status:<{width}}{colors['ENDC']}"

    return paint


def _status(data, paint):
    yield "cluster"
    for name, check in data["checks"].items():
        yield from _check(name, check, paint)
    yield "nodes"
    for name, one in data["nodes"].items():
        yield from _node(name, one, paint)
    answered = sum("node.answer" not in one["checks"] for one in data["nodes"].values())
    yield f"{paint(data['status'])}: {answered} of {len(data['nodes'])} nodes answered in {data['took_ms'] / 1000:.1f} s"


def _node(name, one, paint):
    poor = {check: seen for check, seen in one["checks"].items() if seen["status"] != "ok"}
    good = len(one["checks"]) - len(poor)
    summary = f"{good} of {len(one['checks'])} checks hold, {one['took_ms']} ms"
    yield f"  {name:<12} {paint(one['status'], 9)} {', '.join(one['roles']):<12} {summary}"
    for check, seen in poor.items():
        yield from _check(check, seen, paint, 4)


def _check(name, check, paint, indent=2):
    head = " " * indent + f"{name:<{NAMES - indent}} {paint(check['status'], 9)} "
    lines = textwrap.wrap(str(check["detail"]).replace("\n", " "), WIDTH - DETAILS) or [""]
    yield head + lines[0]
    if check["status"] != "ok" and check["hint"]:
        lines.append(f"-> {check['hint']}")
    for line in lines[1:]:
        yield " " * DETAILS + line
