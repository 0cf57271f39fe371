"""
Parse versions of programs for comparison. Pure.
"""

import re


def numbers(version):
    """Return a version as numbers, (3, 5, 16) for ``1:3.5.16-4+b1``; an empty tuple, less than any, without a version."""
    found = re.match(r"(?:\d+:)?v?(\d+)\.(\d+)(?:\.(\d+))?", str(version or ""))
    return tuple(int(part or 0) for part in found.groups()) if found else ()
