"""
Print health: one line per node, and one per check that is not ok.

Used for ``salt '*' fanatico.health`` and ``salt-run fanatico.status``; ``--out=json`` and ``--out=nested`` print the data itself.
"""

import textwrap

import salt.output
import salt.utils.color

COLORS = {"ok": "GREEN", "unknown": "YELLOW", "degraded": "YELLOW", "critical": "LIGHT_RED"}
WIDTH = 120
NAMES = 29  # column of the statuses
DETAILS = NAMES + 11  # column of the details


def output(data, **kwargs):
    """
    Return ``data`` as a table; other data is passed to the outputter ``nested``.

    data
        The result of ``fanatico.status``, or ``{id: result of fanatico.health}``.
    """
    paint = _painter(salt.utils.color.get_colors(__opts__.get("color"), __opts__.get("color_theme")))
    if _is_status(data):
        return "\n".join(_status(data, paint))
    if isinstance(data, dict) and all(map(_is_health, data.values())):
        return "\n".join(line for name, health in data.items() for line in _node(name, health, paint))
    return salt.output.out_format(data, "nested", __opts__, **kwargs)


def _is_health(data):
    return isinstance(data, dict) and {"status", "roles", "checks"} <= data.keys()


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
    for name, health in data["nodes"].items():
        yield from _node(name, health, paint)
    answered = sum("node.answer" not in health["checks"] for health in data["nodes"].values())
    yield f"{paint(data['status'])}: {answered} of {len(data['nodes'])} nodes answered in {data['took_ms'] / 1000:.1f} s"


def _node(name, health, paint):
    failed = {check: result for check, result in health["checks"].items() if result["status"] != "ok"}
    passed = len(health["checks"]) - len(failed)
    summary = f"{passed} of {len(health['checks'])} checks ok, {health['took_ms']} ms"
    yield f"  {name:<12} {paint(health['status'], 9)} {', '.join(health['roles']):<12} {summary}"
    for check, result in failed.items():
        yield from _check(check, result, paint, 4)


def _check(name, check, paint, indent=2):
    head = " " * indent + f"{name:<{NAMES - indent}} {paint(check['status'], 9)} "
    lines = textwrap.wrap(str(check["detail"]).replace("\n", " "), WIDTH - DETAILS) or [""]
    yield head + lines[0]
    if check["status"] != "ok" and check["hint"]:
        lines.append(f"-> {check['hint']}")
    for line in lines[1:]:
        yield " " * DETAILS + line
