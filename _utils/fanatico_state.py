"""
Build the result of a state, and report changes that did not take effect. No I/O.
"""


def answer(name, result, comment, changes=None):
    """Return the result of a state, ``{"name", "result", "comment", "changes"}``."""
    return {"name": name, "result": result, "comment": comment, "changes": changes or {}}


def applied(changes, left):
    """Return the changes that took effect: those that are not in ``left``, the differences after reading again."""
    return {key: change for key, change in changes.items() if key not in left}


def not_applied(left):
    """
    Return a text about changes that did not take effect.

    left
        ``{name: {"old": present value, "new": expected value} or text}``.
    """
    parts = [
        f"{key}: expected {_text(change['new'])}, found {_text(change['old'])}"
        if isinstance(change, dict)
        else f"{key}: {_text(change)}"
        for key, change in left.items()
    ]
    return "; ".join(parts)


def _text(value):
    if isinstance(value, dict):
        return ", ".join(f"{key}={_text(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(str(inner) for inner in value) or "nothing"
    return "nothing" if value in (None, "") else str(value)
