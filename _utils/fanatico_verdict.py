"""
Verdicts: the result of a health check, and the overall status of several. Pure.

A check is plain data: ``{"status", "value", "detail", "hint"}``.
"""

# Best first. "degraded" is worse than "unknown": a fault that was seen counts more than a possible one.
STATUSES = ("ok", "unknown", "degraded", "critical")

RUNBOOK = "docs/operations.md"


def check(status, value=None, detail="", hint=""):
    """
    Return one check.

    status
        One of ``STATUSES``.
    value
        What was found, as plain data: a number, a name, a short list.
    detail
        One sentence for operators.
    hint
        The next step, a command if possible; empty if there is none.

    Raises ``ValueError`` for an unknown status.
    """
    if status not in STATUSES:
        raise ValueError(f"{status!r} is not one of {', '.join(STATUSES)}")
    return {"status": status, "value": value, "detail": detail, "hint": hint}


def ok(value=None, detail="", hint=""):
    """Return a check that passed."""
    return check("ok", value, detail, hint)


def degraded(value=None, detail="", hint=""):
    """Return a check of a service that works, but with reduced redundancy or near a limit."""
    return check("degraded", value, detail, hint)


def critical(value=None, detail="", hint=""):
    """Return a check of a service that does not work."""
    return check("critical", value, detail, hint)


def unknown(value=None, detail="", hint=""):
    """Return a check without a result."""
    return check("unknown", value, detail, hint)


def with_runbooks(checks, prefix=""):
    """Return ``checks`` (``{name: check}``); each one that is not ok names its runbook entry as ``runbook``: prefix and name."""
    return {
        name: check
        if check["status"] == "ok"
        else {**check, "runbook": f"{RUNBOOK}#{prefix}{name.replace('.', '-')}"}
        for name, check in checks.items()
    }


def worst(statuses):
    """Return the worst of ``statuses``; ``unknown`` when there are none."""
    return max(statuses, key=STATUSES.index, default="unknown")


def overall(checks):
    """Return the overall status of ``checks`` (``{name: check}``)."""
    return worst(check["status"] for check in checks.values())
