"""
Whether a PostgreSQL runs on a data directory, whoever started it.
"""

import pathlib


def pid(data):
    """Return the process id of the server that runs on a data directory; None without one, also where it left its file."""
    try:
        found = int((pathlib.Path(data) / "postmaster.pid").read_text(encoding="utf-8").split()[0])
        name = pathlib.Path("/proc", str(found), "comm").read_text(encoding="utf-8").strip()
    except (OSError, ValueError, IndexError):
        return None
    return found if name == "postgres" else None
