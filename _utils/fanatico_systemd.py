"""
Quote values for systemd files. Pure.
"""


def argument(text):
    """Return an argument for a command line in a unit, such as ``ExecStart``: quoted, without expansion."""
    return variable(text).replace("%", "%%").replace("$", "$$")


def variable(text):
    """Return a value for a variable in an ``EnvironmentFile``, quoted; systemd expands nothing there."""
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
