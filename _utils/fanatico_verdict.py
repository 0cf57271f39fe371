"""
Verdicts: what a check says, and how several become one. Pure.

A check is plain data: ``{"status", "value", "detail", "hint"}``.
"""

# Best first. "unknown" stands below "degraded": a fault that was seen says more than one that may be.
STATUSES = ("ok", "unknown", "degraded", "critical")

RUNBOOK = "docs/operations.md"


def check(status, value=None, detail="", hint=""):
    """
    Return one check.

    status
        One of ``STATUSES``.
    value
        What was seen, as plain data: a number, a name, a short list.
    detail
        One sentence for a person.
    hint
        What to type or look at next; empty where nothing is to be done.
    """
    if status not in STATUSES:
        raise ValueError(f"{status!r} is not one of {', '.join(STATUSES)}")
    return {"status": status, "value": value, "detail": detail, "hint": hint}


def ok(value=None, detail="", hint=""):
    """Return a check that holds."""
    return check("ok", value, detail, hint)


def degraded(value=None, detail="", hint=""):
    """Return a check of something that serves, with redundancy or a limit impaired."""
    return check("degraded", value, detail, hint)


def critical(value=None, detail="", hint=""):
    """Return a check of something that does not serve."""
    return check("critical", value, detail, hint)


def unknown(value=None, detail="", hint=""):
    """Return a check of something that could not be told."""
    return check("unknown", value, detail, hint)


def with_runbooks(checks):
    """Return ``checks`` (``{name: check}``); each check that is not ok names its runbook entry as ``runbook``."""
    return {
        name: check
        if check["status"] == "ok"
        else {**check, "runbook": f"{RUNBOOK}#{name.replace('.', '-')}"}
        for name, check in checks.items()
    }


def worst(statuses):
    """Return the worst of ``statuses``; ``unknown`` when there are none."""
    return max(statuses, key=STATUSES.index, default="unknown")


def overall(checks):
    """Return the status that ``checks`` (``{name: check}``) come to together."""
    return worst(one["status"] for one in checks.values())
