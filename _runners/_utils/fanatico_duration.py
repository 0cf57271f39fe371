"""
Durations as operators write them. Pure.
"""


class NoDuration(ValueError):
    """The text is no duration."""


def seconds(text):
    """Return the seconds in ``90``, ``"90s"``, ``"15m"``, ``"2h"`` or ``"1d"``; raises ``NoDuration``."""
    text = str(text).strip()
    factor = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(text[-1:], 0)
    number = text[:-1] if factor else text
    if not number.isdecimal() or int(number) == 0:
        raise NoDuration(f"{text!r} is not a duration: write for example 90s, 15m, 2h or 1d")
    return int(number) * (factor or 1)
