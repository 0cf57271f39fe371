"""
The front door: is this node what its roles promise?
"""

import time


def _plan():
    return __pillar__.get("plan") or {"nodes": {}}


def roles():
    """
    Return the roles of this node, from the plan; an empty list where it is not in it.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico.roles
    """
    return __utils__["fanatico_plan.roles"](_plan(), __opts__["id"])


def journal(unit, lines=15):
    """
    Return the last lines of a unit's journal.

    unit
        The name of the unit.
    lines
        How many.

    CLI Example:

    .. code-block:: bash

        salt db1 fanatico.journal patroni
    """
    command = ["journalctl", "-u", unit, "-n", str(int(lines)), "--no-pager", "-o", "short-iso"]
    return __salt__["cmd.run_stdout"](command, python_shell=False, ignore_retcode=True)


def health(timeout=1):
    """
    Check what this node's roles promise, all checks side by side.

    timeout
        Seconds, for each question.

    Returns ``{"status", "roles", "checks", "took_ms"}``. The return code is not 0 where the status is
    critical.

    CLI Example:

    .. code-block:: bash

        salt '*' fanatico.health
    """
    started = time.monotonic()
    checks = {}
    return {
        "status": __utils__["fanatico_verdict.overall"](checks),
        "roles": roles(),
        "checks": checks,
        "took_ms": round((time.monotonic() - started) * 1000),
    }
