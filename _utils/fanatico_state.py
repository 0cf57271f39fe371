"""
What a state returns, and how it says that what it did has not taken, or not all of it. No I/O.
"""


def answer(name, result, comment, changes=None):
    """Return what Salt expects of a state."""
    return {"name": name, "result": result, "comment": comment, "changes": changes or {}}


def applied(changes, left):
    """Return those changes that are made: ``left`` is what there is to do when all is read again."""
    return {key: one for key, one in changes.items() if key not in left}


def not_applied(left):
    """Return a sentence's part about what has not taken, ``{what: {"old": what is there, "new": what was expected} or text}``."""
    parts = [
        f"{key}: expected {_said(one['new'])}, found {_said(one['old'])}"
        if isinstance(one, dict)
        else f"{key}: {_said(one)}"
        for key, one in left.items()
    ]
    return "; ".join(parts)


def _said(value):
    if isinstance(value, dict):
        return ", ".join(f"{key}={_said(one)}" for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(str(one) for one in value) or "nothing"
    return "nothing" if value in (None, "") else str(value)
