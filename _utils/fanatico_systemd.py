"""
Words as systemd reads them. Pure.
"""


def argument(text):
    """Return one argument of a command line in a unit, such as ``ExecStart``: quoted, nothing in it expanded."""
    return variable(text).replace("%", "%%").replace("$", "$$")


def variable(text):
    """Return the value of a variable in a file of ``EnvironmentFile``: quoted; systemd expands nothing there."""
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
