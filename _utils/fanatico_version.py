"""
Versions of programs, to compare. Pure.
"""

import re


def numbers(version):
    """Return (3, 5, 16) for ``1:3.5.16-4+b1``; empty, and so less than any, where there is no version."""
    found = re.match(r"(?:\d+:)?v?(\d+)\.(\d+)(?:\.(\d+))?", str(version or ""))
    return tuple(int(part or 0) for part in found.groups()) if found else ()
